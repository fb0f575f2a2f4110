load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
    mkdir images
    cp "$SRC/share/samples/star.png" images/a.1.png
    cp "$SRC/share/samples/tree.jpg" images/b.png
}

# table [ARGUMENT...]: the records of the table on standard input.
table() {
    clip-table "$@" | clip-dump --values
}

# wrong WORDS [ARGUMENT...]: the table on standard input is refused with these words, after the file's name.
wrong() {
    local words=$1
    shift
    cat >in
    run -1 --separate-stderr bash -c '"$@" >out' - clip-table "$@" in
    [ "$stderr" = "clip-table: in: $words" ] || complain "$stderr"
    run -1 grep -c __end__ out
}

@test "open_clip's table: tabs, paths relative to the table, quotes" {
    printf 'filepath\ttitle\nimages/a.1.png\ta 12" star, "bright"\nimages/b.png\t"a ""tree"""\n' >train.csv
    cd /
    run -0 bash -c 'clip-table --image filepath --caption title "$0" | clip-dump' "$BATS_TEST_TMPDIR/train.csv"
    [ "${lines[0]}" = '{"__key__":"1","png":{"bin":6984,"type":"png","hex":"89504e470d0a1a0a0000000d49484452..."},"txt":{"bin":20,"text":"a 12\" star, \"bright\""}}' ]
    [ "${lines[1]}" = '{"__key__":"2","jpg":{"bin":3727,"type":"jpeg","hex":"ffd8ffe000104a464946000101000001..."},"txt":{"bin":8,"text":"a \"tree\""}}' ]
}

@test "Hugging Face's metadata.csv and metadata.jsonl" {
    printf '\xef\xbb\xbffile_name,text,n\r\na.1.png,"two\r\nlines",1\r\n\r\nb.png,plain,\r\n' >images/metadata.csv
    run -0 table -i file_name -c text images/metadata.csv
    [[ ${lines[0]} == '{"__key__":"1","png":{"bin":6984,'*'"txt":{"bin":10,"text":"two\r\nlines"},"n":"1"}' ]]
    [[ ${lines[1]} == '{"__key__":"2","jpg":{"bin":3727,'*'"txt":{"bin":5,"text":"plain"},"n":""}' ]]
    cat >images/metadata.jsonl <<'END'
{"file_name": "b.png", "text": ["a", "b"], "n": 1, "x": {"y": [1, 2]}, "t": true, "z": null, "r": 1.5}

{"text": "\u00e9", "file_name": "a.1.png"}
END
    run -0 table -i file_name -c text images/metadata.jsonl
    [[ ${lines[0]} == '{"__key__":"1","jpg":{'*'"txt":{"bin":3,"text":"a\nb"},"n":1,"x":"{\"y\":[1,2]}","t":true,"r":1.5}' ]]
    [[ ${lines[1]} == '{"__key__":"2","png":{'*'"txt":{"bin":2,"text":"é"}}' ]]
    [ "${#lines[@]}" -eq 2 ]
}

@test "a table becomes a shard" {
    printf 'filepath\ttitle\nimages/a.1.png\ta star\nimages/b.png\ta tree\n' >train.csv
    clip-table -i filepath -c title train.csv | clip-tar -o 0.tar
    [ "$(tar -tf 0.tar | paste -sd ' ')" = "1.png 1.txt 2.jpg 2.txt" ]
    tar -xOf 0.tar 2.jpg | cmp - images/b.png
    [ "$(clip-untar 0.tar | clip-dump --tsv __key__,txt)" = $'1\ta star\n2\ta tree' ]
}

@test "keys, chosen fields, several tables, numbers of columns" {
    printf 'a,b,c\n1,2,3\n' >x.csv
    printf 'c;b;a\n6;5;4\n' >y.csv
    [ "$(table x.csv y.csv)" = $'{"__key__":"1","a":"1","b":"2","c":"3"}\n{"__key__":"2","c":"6","b":"5","a":"4"}' ]
    [ "$(table -k b --fields c,a x.csv y.csv)" = $'{"__key__":"2","a":"1","c":"3"}\n{"__key__":"5","c":"6","a":"4"}' ]
    [ "$(table -k 2 --fields '' x.csv)" = '{"__key__":"2"}' ]
    [ "$(table -H -k 3 x.csv)" = $'{"__key__":"c","1":"a","2":"b"}\n{"__key__":"3","1":"1","2":"2"}' ]
    [ "$(table -k 2 <<<$',2\nx,y')" = '{"__key__":"y","1":"x"}' ] # a name goes before a number
    [ "$(table -k a <<<'{"a": 7, "b": 1e400, "c": "d"}' --fields c)" = '{"__key__":"7","c":"d"}' ]
    [ "$(table --root images -i p <<<$'p,q\nb.png,1' | cut -c 1-30)" = '{"__key__":"1","jpg":{"bin":37' ]
    [ "$(table -i p <<<$'p\n'"$PWD/images/b.png" | cut -c 1-30)" = '{"__key__":"1","jpg":{"bin":37' ]
}

@test "separators, line ends, quotes, encodings" {
    [ "$(table <<<$'a;b\n3;4,5')" = '{"__key__":"1","a":"3","b":"4,5"}' ]
    [ "$(table -d ';' <<<$'a,x;b\n3;4')" = '{"__key__":"1","a,x":"3","b":"4"}' ]
    [ "$(table <<<$'a,x\tb\n3\t4')" = '{"__key__":"1","a,x":"3","b":"4"}' ]
    [ "$(table -d tab <<<$'a,x\n3')" = "$(table --format tsv <<<$'a,x\n3')" ]
    [ "$(table -d '|' <<<$'a|b\n|4')" = '{"__key__":"1","a":"","b":"4"}' ]
    [ "$(table <<<$'"a\t1","b;2"\n"x\n\ny", z ')" = '{"__key__":"1","a\t1":"x\n\ny","b;2":" z "}' ]
    [ "$(printf 'a,b\r1,2\r\r3,4' | table)" = $'{"__key__":"1","a":"1","b":"2"}\n{"__key__":"2","a":"3","b":"4"}' ]
    [ "$(table --no-quotes <<<$'a,b\n"x,y')" = '{"__key__":"1","a":"\"x","b":"y"}' ]
    [ "$(table <<<$'a,b\nx"y,"z"""')" = '{"__key__":"1","a":"x\"y","b":"z\""}' ]
    printf 'a,b\n\xc3\xa9,\xe9\n' | table >got
    [ "$(cat got)" = '{"__key__":"1","a":"é","b":{"bin":1,"hex":"e9"}}' ]
    printf 'a\n\xc3\xa9\n' | iconv -f UTF-8 -t UTF-16 | table >got
    [ "$(cat got)" = '{"__key__":"1","a":"é"}' ]
    [ -z "$(printf 'a,b\n' | table)" ]
    [ -z "$(printf 'a,b' | table)" ]
    printf '\x81\xa7__end__\0' >none
    printf 'a,b' | clip-table | cmp - none
}

@test "what is malformed is refused with file, line and column" {
    printf 'a,b\n1,"2\n3,4\n' | wrong 'line 2: column 2 (b): a quote that does not end'
    printf 'a,b\r\n\r\n"x\r\ny",1\r\n"3\r\n4","5\r\n' | wrong 'line 6: column 2 (b): a quote that does not end'
    printf 'a,b\r1,"2\r' | wrong 'line 2: column 2 (b): a quote that does not end'
    printf 'a,"b\n1,2\n' | wrong 'line 1: column 2: a quote that does not end'
    printf 'a,b\n1,2\n"3"x,4\n' | wrong 'line 3: column 1 (a): text after the closing quote'
    printf 'a,b\n1,2\n"x\ny",2,3\n' | wrong 'line 3: 3 cells, but the header has 2 columns'
    printf '1,2\n3\n' | wrong 'line 2: 1 cells, but the first row has 2 columns' -H
    printf 'a,b\n1,2\n' | wrong "line 1: there is no column 'title' (there is: a, b)" -c title
    printf 'a,b\n1,2\n' | wrong "line 1: there is no column '3' (there is: a, b)" --fields 3
    printf 'a,a\n1,2\n' | wrong "line 1: several columns are named 'a': give its number" -k a
    printf 'a,b,a\n1,2,3\n' | wrong "line 1: column 3 (a): the record has another field of this name (choose columns with --fields)"
    printf 'txt,b\n1,2\n' | wrong "line 1: column 1 (txt): the record has another field of this name (choose columns with --fields)" -c b
    printf '__key__,b\n1,2\n' | wrong "line 1: column 1 (__key__): the record has another field of this name (choose columns with --fields)"
    printf 'p,b\nimages/b.png,2\nimages/c.png,2\n' | wrong 'line 3: column 1 (p): images/c.png: No such file or directory' -i p
    printf 'p,b\nimages/b.png,2\nin,2\n' | wrong 'line 3: column 1 (p): in: neither JPEG, PNG nor WebP' -i p
    printf 'b,p\nx,\n' | wrong 'line 2: column 2 (p): the path is empty' -i p
    printf 'b,k\nx,\n' | wrong 'line 2: column 2 (k): the key is empty' -k k
    printf '{"a":1}\n{"a":\n' | wrong 'line 2: not JSON: unexpected end of data at byte 5'
    printf '\n{"a":1}\n[1]\n' | wrong 'line 3: not a JSON object'
    printf '{"a":1}\n{"b":1}\n' | wrong "line 2: there is no member 'a' (there is: b)" -c a
    printf '{"a":{"b":1}}\n' | wrong "line 1: a: not text" -c a
    printf '{"p":"images/x"}\n' | wrong "line 1: p: images/x: No such file or directory" -i p
    printf '[{"a":1}]' | wrong "begins as a JSON array: write one object per line (jq -c '.[]')"
    printf '\n\r\n' | wrong 'there are only empty lines'
    printf 'a\0b\n' | wrong 'a zero byte: it is not a table of text'
    : | wrong empty
    refuses "nowhere.csv: No such file or directory" clip-table nowhere.csv
    refuses "clip-table: images: Is a directory" clip-table images
}

@test "bad rows are skipped where that is asked for, and the numbers stay" {
    printf 'p,b\nimages/b.png,2\nimages/c.png,2\n1\nimages/a.1.png,3\n' >in
    run -0 --separate-stderr bash -c 'clip-table --skip-bad -i p in | clip-dump --tsv __key__,b'
    [ "$output" = $'1\t2\n4\t3' ]
    [ "$stderr" = 'clip-table: in: line 3: column 1 (p): images/c.png: No such file or directory (skipped)
clip-table: in: line 4: 1 cells, but the header has 2 columns (skipped)
clip-table: 2 bad rows skipped' ]
    printf '{"a":1}\n{"a\n{"a":3}\n' >in
    run -0 bash -c 'clip-table -q --skip-bad in 2>/dev/null | clip-dump --tsv __key__,a'
    [ "$output" = $'1\t1\n3\t3' ]
    printf 'a,b\n1,2\n3,"4\n5,6\n' >in
    refuses "line 3: column 2 (b): a quote that does not end" bash -c 'clip-table --skip-bad in >out'
}

@test "memory stays bounded" {
    { printf 'a,b\n1,"' && head -c 60000000 /dev/zero | tr '\0' x; } >in
    refuses 'line 2: column 2 (b): the row is too large (a quote that does not end? see --max-record)' \
        "$BUILD/tests/tools/peak" kB clip-table --max-record 1M in
    sanitized || [ "$(cat kB)" -lt 8000 ] || complain "$(cat kB) kB"
    { printf '{"a":"' && head -c 60000000 /dev/zero | tr '\0' x; } >in
    refuses 'line 1: larger than 1048576 bytes (see --max-record)' \
        "$BUILD/tests/tools/peak" kB clip-table --max-record 1M in
    sanitized || [ "$(cat kB)" -lt 8000 ] || complain "$(cat kB) kB"
    { printf 'a\n' && head -c 60000000 /dev/zero | tr '\0' ,; } >in
    refuses 'line 2: 60000001 cells, but the header has 1 columns' clip-table in
    head -c 60000000 /dev/zero | tr '\0' , >in
    refuses 'line 1: 60000001 columns (at most 4096)' "$BUILD/tests/tools/peak" kB clip-table in
    sanitized || [ "$(cat kB)" -lt 8000 ] || complain "$(cat kB) kB"
    refuses 'column 1 (p): images/b.png: larger than' clip-table --max-record 1k -i p <<<$'p\nimages/b.png'
}

@test "a row is written while the input stays open" {
    mkfifo in
    exec 7<>in
    clip-table <in >out 3>&- 7>&- &
    printf 'a,b\n1,2\n' >&7
    for ((tries = 0; tries < 300; tries++)); do
        [ ! -s out ] || break
        sleep 0.1
    done
    [ "$(clip-dump out 2>/dev/null)" = '{"__key__":"1","a":"1","b":"2"}' ]
    exec 7>&-
    wait $!
}

@test "options that do not fit are wrong usage" {
    for words in '-d ab' "-d ''" "-d '\"'" '--format jsonl -H' '--format jsonl -d ,' '--root x' '-i p --root ""' '--format xml'; do
        run -2 --separate-stderr bash -c "clip-table $words </dev/null >out"
    done
}

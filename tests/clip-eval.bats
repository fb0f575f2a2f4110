load helper
load programs

setup_file() {
    make_model
}

# A data set of six pictures in two shards, the second compressed.
setup() {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p data/test one two
    printf '%s\n' star circle >data/classnames.txt
    printf 'a {c}\nthe {c}' >data/zeroshot_classification_templates.txt
    printf 2 >data/test/nshards.txt
    for i in 1 2 3 4 5 6; do
        folder=one
        [ $i -lt 4 ] || folder=two
        cp "$SRC/share/samples/star.png" $folder/$i.png
        printf 'caption %s\nanother\\ of %s\n' $i $i >$folder/$i.txt
        [ $i -eq 6 ] || echo $((i % 2)) >$folder/$i.cls
    done
    tar --sort=name -cf data/test/0.tar -C one .
    tar --sort=name -czf data/test/1.tar.gz -C two .
}

awk_zeroshot() {
    awk "$@" -f "$SRC/share/awk/zeroshot.awk" classes best
}

@test "zero-shot numbers: top-1, top-5, mean per-class recall, pictures without a class" {
    printf '%s\n' a b c >classes
    # Class 0: two of three right; 1: one wrong; 2 does not occur; one picture has none.
    printf '%s\t%s\t0\n' 0 0 0 1 0 2 0 0 0 2 0 1 '0\n' 1 '0\n' 2 '0\n' 0 1 2 1 1 1 0 '' 1 '' 2 '' 0 >best
    run -0 awk_zeroshot
    [ "$output" = 'zero-shot: 4 pictures, 3 classes (1 pictures without a class left out)
  top-1                   50.00 %
  top-5                  100.00 %
  mean per-class recall   33.33 %' ]
    [ "$(awk_zeroshot -v json=1)" = '{"task":"zeroshot","pictures":4,"without_class":1,"classes":3,"acc1":0.500000,"acc5":1.000000,"mean_per_class_recall":0.333333}' ]
    printf '3\t0\t0\n' >best
    run -1 awk_zeroshot
    [ "$output" = "clip-eval: class '3' is not one of the 3" ]
}

@test "zero-shot numbers: the fifth counts, the sixth class is not among five" {
    seq 7 >classes
    for class in 0 1; do # the right one is the first, then none of five
        for place in 0 2 3 4 5; do printf '%s\t%s\t0\n' $class $place; done
    done >best
    run -0 awk_zeroshot -v json=1
    [[ $output == *'"acc1":0.500000,"acc5":0.500000,"mean_per_class_recall":0.500000}' ]]
}

@test "retrieval numbers: any right one among the first k, both ways" {
    for i in $(seq 12); do echo "p$i"; done >pictures
    for i in $(seq 12); do printf 'p%s\tx\np%s\ty\n' $i $i; done >captions
    # Each caption finds its picture at the place of its number, those past ten never.
    for i in $(seq 12); do
        for caption in x y; do
            for place in $(seq 10); do
                [ $place -eq $i ] && echo "p$i	p$i	0" || echo "p$i	q	0"
            done
        done
    done >to-pictures
    # Each picture finds its captions at 1 and 2, but p1 and p2 at 6 and 7, and p3 never.
    for i in $(seq 12); do
        for place in $(seq 10); do
            case $i:$place in
            3:* | 1:[12] | 2:[12]) echo "p$i	q	0" ;;
            *:[12] | [12]:[67]) echo "p$i	p$i	0" ;;
            *) echo "p$i	q	0" ;;
            esac
        done
    done >to-captions
    run -0 awk -f "$SRC/share/awk/retrieval.awk" pictures captions to-pictures to-captions
    [ "$output" = 'retrieval: 12 pictures, 24 captions
  recall                  @1        @5       @10
  text to picture     8.33 %   41.67 %   83.33 %
  picture to text    75.00 %   75.00 %   91.67 %' ]
    run -0 awk -v json=1 -f "$SRC/share/awk/retrieval.awk" pictures captions to-pictures to-captions
    [[ $output == '{"task":"retrieval","pictures":12,"captions":24,"image_retrieval_recall@1":0.083333,'* ]]
    [[ $output == *'"text_retrieval_recall@10":0.916667}' ]]
    echo p1 >>pictures
    run -1 awk -f "$SRC/share/awk/retrieval.awk" pictures captions to-pictures to-captions
    [ "$output" = "clip-eval: two pictures of the key p1" ]
}

@test "captions of a table: escapes read" {
    printf '%s\n' 'a\\nb\r' 'one\ttab' x >in
    run -0 awk -f "$SRC/share/awk/captions.awk" in
    [ "$output" = 'a\nb
one tab
x' ]
}

@test "both tasks over plain and compressed shards, and the page of --dry-run" {
    run -0 --separate-stderr clip-eval -m "$SMALL/model" data
    [ -z "$stderr" ]
    [ "${lines[0]}" = "zero-shot: 5 pictures, 2 classes (1 pictures without a class left out)" ]
    [ "${lines[2]}" = "  top-5                  100.00 %" ]
    clip-eval -m "$SMALL/model" --dry-run data >page
    [ "$(bash -o pipefail page)" = "$output" ]
    [ "$(sh page)" = "$output" ]
    echo retrieval >data/dataset_type.txt
    run -0 clip-eval -m "$SMALL/model" --json --save kept data
    [[ $output == '{"task":"retrieval","pictures":6,"captions":12,'* ]]
    [ "$(clip-dump --keys kept/pictures.clip | wc -l)" -eq 6 ]
    [ "$(sed -n 2p kept/captions.tsv)" = './1	another\\ of 1' ]
    run -1 clip-eval -m "$SMALL/model" --json --save kept data # it is there
    run -0 clip-eval -m "$SMALL/model" -t zeroshot --json data
    [[ $output == '{"task":"zeroshot",'* ]]
}

@test "what is missing, cut or not understood" {
    run -2 clip-eval data
    run -2 clip-eval -m "$SMALL/model" -t other data
    run -1 --separate-stderr clip-eval -m "$SMALL/model" --split train data
    [ "$stderr" = "clip-eval: data/train: there is no such folder" ]
    echo multilabel >data/dataset_type.txt
    run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [ "$stderr" = "clip-eval: data: multilabel data is not supported" ]
    rm data/dataset_type.txt
    echo 3 >data/test/nshards.txt
    run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [[ $stderr == "clip-eval: data/test/2.tar: there is no such file"* ]]
    echo 1 >data/test/nshards.txt
    head -c 2000 data/test/0.tar >cut
    mv cut data/test/0.tar
    run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [[ -z $output && $stderr == *"data/test/0.tar"* ]]
    rm data/classnames.txt
    run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [[ $stderr == "clip-eval: data/classnames.txt: there is no such file"* ]]
}

@test "prompts: {} is {c}; what has neither is an error before anything is computed" {
    clip-eval --json -m "$SMALL/model" --save want data >want.json
    printf 'a {}\r\nthe {}\r\n' >data/zeroshot_classification_templates.txt
    [ "$(clip-eval --json -m "$SMALL/model" --save got data)" = "$(cat want.json)" ]
    cmp want/classes.clip got/classes.clip
    printf 'a {c}\n\na photo\n' >prompts
    rm data/test/0.tar # it is not looked for in vain
    touch data/test/0.tar
    run -1 --separate-stderr clip-eval -m "$SMALL/model" -p prompts data
    [ "$stderr" = "clip-tokenize: prompts: line 3: the prompt has neither {c} nor {} for its caption: a photo" ]
    : >prompts
    run -1 --separate-stderr clip-eval -m "$SMALL/model" -p prompts data
    [ "$stderr" = "clip-tokenize: prompts: there are no prompts" ]
    printf 'star\n\ncircle\n' >data/classnames.txt
    run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [ "$stderr" = "clip-tokenize: data/classnames.txt: line 3: a class after an empty line, line 2" ]
}

@test "text files of Windows: line ends, blank last lines, UTF-16, byte order marks" {
    need iconv
    clip-eval --json -m "$SMALL/model" --save want data >want.json
    local form mark
    for form in UTF-16LE:'\xff\xfe' UTF-16BE:'\xfe\xff' UTF-8:'\xef\xbb\xbf' UTF-8:; do
        mark=${form#*:}
        marked() { printf "$mark" && iconv -f UTF-8 -t "${form%%:*}"; }
        printf 'star\r\ncircle\r\n\r\n' | marked >data/classnames.txt
        printf 'a {}\r\nthe {c}\r\n' | marked >data/zeroshot_classification_templates.txt
        printf 'zeroshot_classification\r\n' | marked >data/dataset_type.txt
        printf '2\r\n' | marked >data/test/nshards.txt
        rm -rf got
        [ "$(clip-eval --json -m "$SMALL/model" --save got data)" = "$(cat want.json)" ]
        cmp want/classes.clip got/classes.clip
        printf 'retrieval\r\n' | marked >data/dataset_type.txt
        run -0 clip-eval --json -m "$SMALL/model" data
        [[ $output == '{"task":"retrieval","pictures":6,"captions":12,'* ]]
    done
    # Captions of the shards too.
    clip-eval --json -t retrieval -m "$SMALL/model" --save plain data >want.json
    for i in 1 2 3; do
        printf 'caption %s\r\nanother\\ of %s\r\n' $i $i | { printf '\xff\xfe' && iconv -t UTF-16LE; } >one/$i.txt
    done
    tar --sort=name -cf data/test/0.tar -C one .
    clip-eval --json -t retrieval -m "$SMALL/model" --save utf16 data >got.json
    cmp want.json got.json
    cmp plain/captions.clip utf16/captions.clip
}

@test "retrieval: an empty caption is an error that names it, or left out with its picture; --captions one" {
    echo retrieval >data/dataset_type.txt
    printf ' \r\n' >one/2.txt
    rm two/5.txt
    tar --sort=name -cf data/test/0.tar -C one .
    tar --sort=name -czf data/test/1.tar.gz -C two .
    run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [[ $stderr == *"clip-tokenize: data/test/0.tar: sample ./2: the caption 'txt' is empty"* ]]
    run -0 --separate-stderr clip-eval --json --skip-bad -m "$SMALL/model" data
    [[ $output == '{"task":"retrieval","pictures":4,"captions":8,'* ]]
    [ "$stderr" = "clip-tokenize: data/test/0.tar: sample ./2: the caption 'txt' is empty (skipped)
clip-tokenize: data/test/1.tar.gz: sample ./5: no field 'txt' (skipped)
clip-tokenize: 2 bad records skipped" ]
    run -0 --separate-stderr clip-eval --json --skip-bad --captions one -m "$SMALL/model" data
    [[ $output == '{"task":"retrieval","pictures":4,"captions":4,'* ]]
    run -2 clip-eval --captions two -m "$SMALL/model" data
}

@test "numbers have a decimal point where the locale has a comma, here and in the page" {
    comma_locale
    clip-eval --json -m "$SMALL/model" data >want.json
    for name in LC_ALL LC_NUMERIC LANG; do
        env -u LC_ALL $name=de_DE.UTF-8 clip-eval --json -m "$SMALL/model" data >got.json
        cmp want.json got.json
        env -u LC_ALL $name=de_DE.UTF-8 clip-eval --json --dry-run -m "$SMALL/model" data >page
        env -u LC_ALL $name=de_DE.UTF-8 sh page >got.json
        cmp want.json got.json
        env -u LC_ALL $name=de_DE.UTF-8 clip-eval --json -t retrieval -m "$SMALL/model" data >got.json
        [[ $(cat got.json) =~ '_recall@1":'[01]\.[0-9]{6}, ]]
    done
}

@test "a link to the model is followed once: one evaluation is of one model" {
    mkdir run
    cp -r "$SMALL/model" run/step-1
    ln -s step-1 run/latest
    clip-eval --json -m run/step-1 data >want
    for model in run/latest ./run/latest/ "$PWD/run/latest"; do
        clip-eval --dry-run -m "$model" data >page
        ! grep -q latest page || complain "$(cat page)"
        grep -q -e "-m $(readlink -f run/step-1) " page
        clip-eval --json -m "$model" data | cmp - want
    done
    CLIP_MODEL_PATH=/nowhere:$PWD/run clip-eval --dry-run -m latest data >page
    grep -q -e "-m $(readlink -f run/step-1) " page
    # A file's folder, but not the file's own link: what lies beside it counts.
    clip-eval --dry-run -m run/latest/open_clip_model.safetensors data >page
    grep -q -e "-m $(readlink -f run/step-1)/open_clip_model.safetensors " page
    # What is no link stays as it was given.
    clip-eval --dry-run -m run/step-1 data >page
    grep -q -e "-m run/step-1 " page
    clip-classify --dry-run -m run/latest "$SRC/share/samples/star.png" -- a b >page
    run -1 grep latest page
}

@test "a folder for temporary files that is not there" {
    TMPDIR=$PWD/nowhere run -1 --separate-stderr clip-eval -m "$SMALL/model" data
    [ "$stderr" = "clip-eval: a temporary folder in $PWD/nowhere: No such file or directory" ]
    [ -z "$output" ]
    TMPDIR=$PWD/nowhere clip-eval --save kept -m "$SMALL/model" data
}

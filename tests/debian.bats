# Debian's packages: what the tree says about them; with CLIP_LONG=1 they are built.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR"
}

@test "the packages have the tree's version, and need what quickstart installs to build" {
    local version
    version=$(sed -nE 's/^AC_INIT\(\[clip-tools\], \[([^]]*)\].*/\1/p' "$SRC/configure.ac")
    [ "$(sed -nE '1s/^clip-tools \(([^)]*)\) .*/\1/p' "$SRC/debian/changelog")" = "$version" ]
    sed -n '/^packages() {/,/^}/p; /^msgpack_c() {/,/^}/p' "$SRC/quickstart" | grep -oE '\b[a-z0-9.+-]+-dev\b' |
        grep -v libc6-dev | sort -u >want
    sed -n '/^Build-Depends:/,/^Standards/p' "$SRC/debian/control" | grep -oE '\b[a-z0-9.+-]+-dev\b' | sort -u >got
    equal want got
}

@test "every file that is installed is in one package" {
    local file package found
    run -0 env -u MAKEFLAGS make -s -C "$BUILD" install prefix=/usr DESTDIR="$PWD/root"
    (cd root && find . ! -type d) | sed 's|^\./||' | grep -v /COPYING$ >files
    [ "$(wc -l <files)" -gt 50 ]
    while read -r file; do
        found=
        for package in clip-tools clip-tools-data; do
            while read -r folder; do
                [[ $file/ != "$folder"/* ]] || found+=" $package"
            done <"$SRC/debian/$package.install"
        done
        [[ $found == " clip-tools" || $found == " clip-tools-data" ]] || complain "$file:$found"
    done <files
    for file in awk vocab page; do grep -qx "usr/share/clip-tools/$file" "$SRC/debian/clip-tools.install"; done
    while read -r folder; do
        [ -e "root/$folder" ] || complain "$folder is not installed"
    done < <(cat "$SRC"/debian/*.install)
}

@test "what is installed runs from there, and uninstalling leaves nothing of it" {
    local root="$PWD/a root" photos
    mkdir empty
    run -0 env -u MAKEFLAGS make -s -C "$BUILD" install prefix="$root/usr"
    for file in README.md NEWS.md COPYING; do [ -s "$root/usr/share/doc/clip-tools/$file" ] || complain "$file"; done
    photos=$root/usr/share/clip-tools/samples/photos
    cd empty
    run -0 env -u CLIP_DATADIR -u CLIP_MODEL_PATH XDG_CACHE_HOME="$root/cache" PATH="$root/usr/bin:/usr/bin:/bin" \
        clip-search -f -t 1 -d "$photos" a photo of a dog
    [ "$output" = "$photos/dog.jpg" ]
    run -0 env -u CLIP_DATADIR -u CLIP_MODEL_PATH PATH="$root/usr/bin:/usr/bin:/bin" \
        clip-classify -m things -k 1 "$photos/cat.jpg" -- cat dog
    [[ $output == *" cat" ]]
    run -0 env -u MAKEFLAGS make -s -C "$BUILD" uninstall prefix="$root/usr"
    output=$(find "$root/usr" ! -type d -o -name '*clip*')
    [ -z "$output" ] || complain "$output"
}

@test "make deb gives packages in which lintian finds nothing" {
    [ -n "${CLIP_LONG:-}" ] || skip CLIP_LONG
    command -v dh >/dev/null || skip debhelper # which quickstart does not install
    command -v lintian >/dev/null || skip lintian
    git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1 || skip git
    git clone -q "$SRC" tree
    (cd tree && autoreconf -fi && ./configure && env -u MAKEFLAGS make deb) >log 2>&1 || complain "$(tail -n 20 log)"
    ls tree/clip-tools_*.deb tree/clip-tools-data_*.deb
    [[ $(dpkg-deb -f tree/clip-tools_*.deb Depends) != *mpi* ]] # which few need, and which brings much
    run -0 lintian --allow-root --fail-on error,warning tree/clip-tools_*.changes
    [ -z "$output" ] || complain "$output"
}

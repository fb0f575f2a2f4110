# Training as several ranks: clip-train --ranks on one machine, and through mpirun where it is.
load helper
load programs

setup_file() {
    make_model
    mpi_here
    cd "$BATS_FILE_TMPDIR"
    mkdir pairs
    local file key n
    for file in "$SRC"/share/samples/*.txt; do
        key=$(basename "${file%.txt}")
        for n in 1 2 3 4; do
            cp "$SRC"/share/samples/"$key".[jpw]* "pairs/$n-$(basename "$SRC"/share/samples/"$key".[jpw]*)"
            echo "$(cat "$file") $((n / 2))" >"pairs/$n-$key.txt"
        done
    done
    tar --sort=name -C pairs -cf pairs.tar .
    cat >resnet.json <<'END'
{"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
 "text_cfg": {"context_length": 8, "vocab_size": 514, "width": 16, "heads": 2, "layers": 1}}
END
    cat >fastvit.json <<'END'
{"embed_dim": 8, "vision_cfg": {"image_size": 64, "timm_model_name": "fastvit_mci1", "timm_pool": "avg",
  "timm_model_kwargs": {"layers": [1, 1, 1, 1], "embed_dims": [8, 16, 32, 64]}},
 "text_cfg": {"context_length": 8, "vocab_size": 514, "width": 16, "heads": 2, "layers": 1}}
END
    cat >hybrid.json <<'END'
{"embed_dim": 8, "vision_cfg": {"image_size": 32, "timm_model_name": "vit_base_mci_224", "timm_pool": "token",
  "timm_model_kwargs": {"img_size": 32, "depth": 1}},
 "text_cfg": {"context_length": 8, "vocab_size": 514, "width": 16, "heads": 2, "layers": 1}}
END
    sed 's/"embed_dim": 8/"embed_dim": 8, "init_logit_scale": 2.3, "init_logit_bias": -10/' "$SMALL/arch.json" >bias.json
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    cp "$BATS_FILE_TMPDIR"/{pairs.tar,resnet.json,fastvit.json,hybrid.json,bias.json} .
}

# train OUT OPTION...: twenty steps of eight pairs, unless the options say otherwise.
train() {
    clip-train -q --data pairs.tar --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o "$1" -n 8 -e 5 --augment --flip \
        -j 1 "${@:2}"
}

# near LIMIT A B: the last checkpoints' weights differ by at most LIMIT, as a whole, and the logs' losses at most 1e-6
# (relative); all counts are the same.
near() {
    need_python numpy
    python - "$@" <<'END'
import json, struct, sys, numpy
def read(run):
    data = open(run + "/latest/open_clip_model.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: numpy.frombuffer(data[8 + n:][slice(*v["data_offsets"])], "<f4").astype(float)
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__" and v["dtype"] == "F32"}
limit, one, other = sys.argv[1:]
a, b = read(one), read(other)
assert a.keys() == b.keys() and a
off = (sum(((a[k] - b[k]) ** 2).sum() for k in a) / sum((a[k] ** 2).sum() for k in a)) ** 0.5
log = [[json.loads(line) for line in open(run + "/log.jsonl")] for run in (one, other)]
assert [x["count"] for x in log[0]] == [x["count"] for x in log[1]] != []
loss = max(abs(x["loss"] - y["loss"]) / abs(x["loss"]) for x, y in zip(*log))
print("weights", off, "losses", loss)
assert off <= float(limit) and loss <= max(1e-6, float(limit) / 10)
assert float(limit) > 1e-6 or all(x[k] == y[k] for x, y in zip(*log) for k in ("top1_image", "top1_text"))
END
}

# bytes RUN: a sum of the last checkpoint's files.
bytes() {
    (cd "$1/latest" && find . -type f -exec sha256sum {} + | sort | sha256sum)
}

@test "two and three ranks train what one process does, the same bytes each time" {
    local ranks
    train one
    for ranks in 2 3; do
        train "run$ranks" --ranks $ranks
        near 1e-6 one "run$ranks"
        train again --ranks $ranks
        [ "$(bytes again)" = "$(bytes "run$ranks")" ]
        rm -r again
        [ -z "$(ls -A run$ranks | grep -vxE 'fifo|init|latest|log.jsonl|options|running|\.lock|step-.*')" ]
    done
    [ "$(bytes run2)" != "$(bytes run3)" ] # another order of sums; or they were not several at all
}

@test "SigLIP's loss, positives, shares of unequal size, clipping, recomputation, frozen towers" {
    local options
    while read -r options; do
        rm -rf one two
        # shellcheck disable=SC2086 # options and their values
        train one $options
        # shellcheck disable=SC2086
        train two $options --ranks 2
        near 1e-6 one two || complain "$options"
    done <<END
--arch bias.json --loss sigmoid
--positives txt -n 16
-n 7
--optimizer --clip-norm=0.1 --memory 1k --chunk 3
--freeze image,text-projection
--freeze image,text
END
    train three -n 7 --ranks 3
    rm -r one
    train one -n 7
    near 1e-6 one three
}

# Batch norm's sums of thousands of pixels differ in the last bits, which ReLUs turn into other gradients: one process
# with other kernels (CLIP_CPU=x86-64) differs from itself as much.
@test "a ResNet's batch norm is that of the whole batch" {
    local ranks
    train one --arch resnet.json -n 16
    for ranks in 2 3; do
        train "run$ranks" --arch resnet.json -n 16 --ranks $ranks
        near 5e-4 one "run$ranks"
    done
    [ "$(jq -s 'map(select(has("image.batch_norm_chunk"))) | length' run2/log.jsonl)" -eq 0 ]
    run -1 --separate-stderr train bad --arch resnet.json -n 16 --ranks 2 --chunk 4
    [[ $stderr == *"--chunk 4: batch norm over ranks needs a rank's share of the batch as one chunk"* ]]
    train good --arch resnet.json -n 16 --ranks 2 --chunk 8
    [ "$(bytes good)" = "$(bytes run2)" ]
}

@test "the batch norm of a FastViT, and of MobileCLIP-B's stem, is that of the whole batch" {
    local arch
    for arch in fastvit hybrid; do
        train $arch-one --arch $arch.json -n 16
        train $arch-two --arch $arch.json -n 16 --ranks 2
        near 5e-4 $arch-one $arch-two
        train $arch-again --arch $arch.json -n 16 --ranks 2
        [ "$(bytes $arch-again)" = "$(bytes $arch-two)" ] || complain "$arch"
    done
}

@test "a run goes on with the same number of ranks to the byte, with another within rounding" {
    train whole --ranks 2 --save-steps 5 --keep 9
    train part --ranks 2 -e 5 --save-steps 5 --keep 9
    rm -r part/step-000000{15,20}
    ln -sfn step-00000010 part/latest
    cp -r part other
    cp -r part one
    train part --ranks 2 --save-steps 5 --keep 9
    [ "$(bytes part)" = "$(bytes whole)" ]
    train other --ranks 3
    near 1e-6 whole other
    train one
    near 1e-6 whole one
}

# stages: processes of the run in the current folder.
stages() {
    local pid
    for pid in $(pgrep -f 'train run|clip-ranks'); do
        [ "$(readlink "/proc/$pid/cwd")" != "$PWD" ] || echo "$pid"
    done
}

# stage NAME: the process of the run, among those of all tests that run now, whose program is NAME: the youngest.
stage() {
    stages | xargs ps -o pid=,comm= -p | awk -v name="${1:0:15}" '$2 == name { pid = $1 } END { print pid }'
}

# begin_run OPTION...: starts run, of many steps, and waits for its first checkpoint; `pid` is clip-train's.
begin_run() {
    local tries
    clip-train -q --data pairs.tar --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o run -n 8 -e 200 --save-steps 20 -j 1 \
        --ranks 2 "$@" >out 2>err 3>&- &
    pid=$!
    for ((tries = 0; tries < 1000; tries++)); do
        [ ! -e run/latest ] || return 0
        sleep 0.01
    done
    complain "no checkpoint came: $(cat err)"
}

# ends: all processes end within five seconds.
ends() {
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        [ -n "$(stages)" ] || return 0
        sleep 0.1
    done
    complain "left: $(stages | xargs ps -o args= -p)"
}

# fails: clip-train ends with status 1, and all with it.
fails() {
    local status=0
    wait "$pid" || status=$?
    [ $status -eq 1 ] || complain "status $status: $(cat err)"
    ends
}

@test "any process of any rank is killed: all end, say why, leave nothing, and go on to the same bytes" {
    local victim tries status whole
    begin_run
    wait "$pid"
    whole=$(bytes run)
    for victim in clip-batch clip-encode-image clip-contrastive-step clip-ranks clip-ranks-page TERM; do
        rm -rf run
        begin_run
        case $victim in
        TERM) kill -TERM "$pid" ;;
        *) kill -KILL "$(stage $victim)" ;;
        esac
        status=0
        wait "$pid" || status=$?
        ends
        if [ $victim = TERM ]; then
            [ $status -eq 143 ]
            grep -Eq '^clip-train: run: stopped at step [0-9]+ of 800, which is saved; to go on: ' err
        else
            [ $status -eq 1 ]
            grep -Eq '^clip-train: run: the run stopped before step 800; the last checkpoint is of step [0-9]+; ' err
            [ "$(wc -l <err)" -le 3 ] || complain "$victim: $(cat err)"
        fi
        [ -z "$(find /dev/shm -user "$(id -u)" -newer pairs.tar -name '*clip*')" ]
        begin_run
        wait "$pid"
        [ "$(bytes run)" = "$whole" ] || complain "$victim: other bytes"
    done
}

@test "the first cause on any rank is what is said, with the rank and the host" {
    local host
    host=$(uname -n)
    mkdir bad
    tar -C bad -xf pairs.tar
    echo text >bad/3-star.png
    tar --sort=name -C bad -cf pairs.tar .
    run -1 --separate-stderr train run --ranks 2
    grep -v ' captions truncated to ' <<<"$stderr" >said
    grep -qE "^rank [01] on $host: clip-preprocess: pairs.tar: sample ./3-star: " said
    grep -qx 'clip-train: --skip-bad leaves out samples that cannot be used' said
    [ "$(wc -l <said)" -eq 3 ] || complain "$stderr"
    rm -r run
    train run --ranks 2 --skip-bad
    rm -r run
    mkdir -p run/init
    run -1 --separate-stderr train run --ranks 2
    [[ $stderr == *"rank 0 on $host: clip-"*": run/init: not a model folder"* ]] || complain "$stderr"
}

@test "--deal: shares of every batch, the same whatever number of ranks there is" {
    local rank sizes
    clip-untar --shuffle 3 --epochs 2 pairs.tar | clip-dump --tsv __key__,__epoch__ >all
    for rank in 0 1 2; do
        clip-untar --shuffle 3 --epochs 2 --deal $rank/3:7 pairs.tar | clip-dump --tsv __key__,__epoch__ >dealt.$rank
    done
    sizes=$(wc -l <dealt.0),$(wc -l <dealt.1),$(wc -l <dealt.2)
    [ "$sizes" = 19,18,27 ] # of nine batches 2, 2 and 3 each, and the first sample more
    awk '{ b = int((NR - 1) / 7); r = (NR - 1) % 7; print > ("want." (r < 2 ? 0 : r < 4 ? 1 : 2)) }' all
    for rank in 0 1 2; do
        diff dealt.$rank want.$rank
    done
    clip-untar --deal 1/2:4 -n 10 pairs.tar | clip-dump --keys >keys
    diff keys <(clip-untar pairs.tar | clip-dump --keys | sed -n '3,4p;7,8p')
    for rank in 3/3:7 0/3:2 0/0:4 1:4 0/2:4x -1/2:4; do
        run -2 clip-untar --deal $rank pairs.tar
    done
}

@test "the page: one command for all ranks, that can be pasted" {
    train run --dry-run --ranks 2 --threads 3 >page
    grep -q '^clip-ranks -n 2 sh -c' page
    grep -q -- '--deal $CLIP_RANK/$CLIP_RANK_SIZE:8 pairs.tar' page
    grep -q -- '--grad-in run/fifo/$CLIP_RANK/image' page
    [ "$(grep -c -- '-j \$CLIP_RANK_THREADS' page)" -eq 0 ]
    clip-train --data pairs.tar --arch "$SMALL/arch.json" -o run -n 8 --ranks 2 --dry-run >page
    [ "$(grep -c -- '-j \$CLIP_RANK_THREADS' page)" -eq 5 ]
    clip-train -q --data pairs.tar --arch "$SMALL/arch.json" --vocab "$SMALL/vocab" -o "it's a run" -n 8 -e 5 --augment --flip \
        -j 1 --ranks 2 --dry-run >page
    bash page
    train run --ranks 2
    [ "$(bytes run)" = "$(bytes "it's a run")" ]
}

@test "--ranks 1 is one process" {
    train run --ranks 1 --dry-run >page
    diff page <(train run --dry-run)
}

@test "options of ranks are checked before anything is made" {
    local options
    while read -r options; do
        # shellcheck disable=SC2086 # options and their values
        run -2 --separate-stderr train run $options
        [ ! -e run ] || complain "$options: a folder is left"
    done <<'END'
--ranks 0
--ranks 9
--ranks 2 --launcher rsh
--ranks 3 --hosts a:2,b:2
--hosts a:0
--hosts a:x
--hosts ,a
--ranks 2 --hosts a:1,b:1 --launcher local
--ranks 2 --slurm --launcher local
END
}

@test "pages of launchers, and a job for Slurm" {
    need_mpi
    [[ "$(train run --dry-run --ranks 4 --launcher srun)" == *"srun -n 4 --mpi=pm"*" clip-ranks --expect 4 sh -c '"* ]]
    [[ "$(train run --dry-run --hosts a:2,b)" == *"mpirun -n 3 "*" a:2,b "*" clip-ranks --expect 3 sh -c '"* ]]
    train run --ranks 4 --slurm >job
    [ ! -e run ]
    head -n 1 job | grep -qx '#!/bin/sh'
    grep -qx '#SBATCH --ntasks=4' job
    grep -q "^clip-train .*--ranks 4 --launcher srun &\$" job
    sh -n job
}

@test "through mpirun: the same bytes as on one machine, and any end ends all" {
    need_mpi
    local ranks
    for ranks in 2 3; do
        train "local$ranks" --ranks $ranks
        timeout 100 bash -c "$(declare -f train); train mpi$ranks --ranks $ranks --launcher mpirun"
        [ "$(bytes mpi$ranks)" = "$(bytes local$ranks)" ]
    done
    timeout 100 bash -c "$(declare -f train); train mpirn -n 16 --arch resnet.json --ranks 2 --launcher mpirun"
    train localrn -n 16 --arch resnet.json --ranks 2
    [ "$(bytes mpirn)" = "$(bytes localrn)" ]
    begin_run --launcher mpirun
    kill -KILL "$(stage clip-ranks)"
    fails
    [ "$(grep -vc '^signal 9 (Killed)\.$' err)" -eq 2 ] || complain "$(cat err)" # which Open MPI 5 says in a line of its own
    rm -r run
    begin_run --launcher mpirun
    kill -KILL "$(stage clip-contrastive-step)"
    fails
    [[ $(cat err) == *"rank "[01]" on $(uname -n)"* ]] || complain "$(cat err)"
    run -1 grep -E 'MPI_ABORT|Errorcode|prterun|---' err
    rm -r run
    begin_run --launcher mpirun
    kill -TERM "$pid"
    wait "$pid" || [ $? -eq 143 ]
    ends
}

# A second host: an agent in the place of ssh, which runs the command here. Open MPI 5 does not take this machine for
# another one.
@test "on two hosts, one of which is played by the test's own rsh agent" {
    need_mpi
    [[ "$(mpirun --version)" == *"(Open MPI) 4."* ]] || skip openmpi-4
    printf '#!/bin/sh\necho "$1" >>%s/agent.log\nshift\nexec sh -c "$*"\n' "$PWD" >agent
    chmod +x agent
    train local --ranks 2
    OMPI_MCA_plm_rsh_agent=$PWD/agent timeout 100 bash -c "$(declare -f train)
        train hosts --ranks 2 --hosts $(uname -n):1,elsewhere:1"
    [ "$(cat agent.log)" = elsewhere ]
    [ "$(bytes hosts)" = "$(bytes local)" ]
}

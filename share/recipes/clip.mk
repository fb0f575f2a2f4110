# What the recipes share: from shards of pairs to a vocabulary, a trained model, its curves and its measure. See
# clip-recipes(7). Everything is made in the current folder; what is interrupted goes on when make is run again.
#
# A recipe sets
#   DATA        folder of shards, as clip-eval(1) takes it; what is trained on is DATA/train
#   SHARDS      the shards that are trained on: files that make knows how to make, or that are there
#   TASKS       what is measured: zeroshot, retrieval
#   RECIPE      its own folder
# and may set any of these, as may the command line:

ARCH ?= $(RECIPE)arch.json
# A model to start from, with its vocabulary, instead of a new one of ARCH.
INIT ?=
VOCAB_SIZE ?= 4096
BATCH ?= 256
EPOCHS ?= 20
LR ?= 1e-3
SEED ?= 1
AUGMENT ?= --flip
PRECISION ?= auto
# Prompts that captions stand in while it trains.
PROMPTS ?=
# Any other options of clip-train, --positives FIELD and --optimizer '--weight-decay X' among them.
TRAIN ?=
# The numbers' type of the model that is exported.
DTYPE ?= f16

awk := $(dir $(lastword $(MAKEFILE_LIST)))../awk

all: curves.png model $(TASKS:%=%.txt)
.PHONY: all
.DELETE_ON_ERROR:

# The captions, and the classes' prompts where there are classes, a line each.
captions.txt: | $(SHARDS)
	clip-untar -q --only txt $(SHARDS) | clip-tokenize -q --captions all --truncate | clip-dump -q --tsv txt >$@.tsv
	if [ -f $(DATA)/classnames.txt ]; then clip-tokenize -q --truncate --classes $(DATA)/classnames.txt \
	    --prompts $(DATA)/zeroshot_classification_templates.txt | clip-dump -q --tsv txt; fi >>$@.tsv
	awk -f $(awk)/captions.awk $@.tsv >$@.new
	rm $@.tsv
	mv $@.new $@

vocab: captions.txt
	rm -rf $@
	clip-model vocab -q --size $(VOCAB_SIZE) -o $@ $<

# The architecture with the vocabulary's size.
arch.json: $(ARCH)
	sed 's/"vocab_size": *[0-9]*/"vocab_size": $(VOCAB_SIZE)/' $< >$@

run/complete: $(if $(INIT),$(SHARDS),arch.json vocab)
	clip-train $(SHARDS:%=--data %) $(if $(INIT),--init $(INIT),--arch arch.json --vocab vocab) --out run --batch $(BATCH) --epochs $(EPOCHS) \
	    --lr $(LR) --seed $(SEED) $(if $(AUGMENT),--augment '$(AUGMENT)') $(if $(PROMPTS),--prompts $(PROMPTS)) \
	    --precision $(PRECISION) $(TRAIN)
	touch $@

model: run/complete
	rm -rf $@
	clip-model convert run/latest -q -d $(DTYPE) -o $@

curves.png: run/complete
	clip-plot -q -c loss,top1_image+top1_text,logit_scale,lr -t 'Batch $(BATCH), $(EPOCHS) epochs' -o $@ run/log.jsonl

$(TASKS:%=%.txt): %.txt: model
	clip-eval -m model -t $* --precision $(PRECISION) $(DATA) >$@.new
	mv $@.new $@
	cat $@

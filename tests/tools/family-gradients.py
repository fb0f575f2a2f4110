#!/usr/bin/python3
"""Gradients of towers by PyTorch's autograd, from the reference in shared/oracle, as tests/unit/test-families.c reads them.

  family-gradients.py SHARED [MODEL...] > tests/data/family-gradients.txt

The loss is the sum over records i and channels j of features[i][j] sin(1 + i width + j), of the features before the projection. A line is: model,
side (vision, text), tensor, its norm, and the sums of its elements k times sin(0.7 (k + 1)) and times cos(1.3 k). Batch norms have the statistics
of the batch: "batch_features" are those in training then, "features" those of inference. Needs python3-torch.
"""
import json, os, re, sys
import numpy as np, torch
shared = sys.argv[1]
sys.path.insert(0, f'{shared}/oracle')
import clipref, famref, textref

FAMILIES = ('vit-layer-scale vit-custom vit-cosine clipa coca coca-base vit-attn-pool siglip siglip2-mixed siglip-i18n siglip-floor '
            'eva01 eva02 eva02-e pe-core pe-core-g mobileclip2-l vit-gap convnext convnext-mlp convnext-xxlarge '
            'mobileclip-s mobileclip2-s3 naflex naflex-resized naflex-siglip2 vit-relpos').split()


TEXTS = ('tt-clipa tt-coca tt-custom tt-custom-cosine tt-eos tt-first-noproj tt-last-causal-bias tt-siglip '
         'hf-bert-cls-linear hf-bert-max-none hf-roberta-cls-clap hf-roberta-mean-linear hf-xlmr-mean-mlp hf-nllb-cls-linear hf-mt5-mean-mlp '
         'modern-bidir-map modern-causal-eos modern-extra hf-chinese-clip hf-altclip').split()


def batch_norm(p, x):
    return torch.nn.functional.batch_norm(x, None, None, p['weight'], p['bias'], True, 0., 1e-5)


def identity(tensors, width):
    """Takes the projections away: features come out."""
    for n in list(tensors):
        if n in ('visual.proj', 'text.text_projection', 'text_projection') or re.fullmatch(r'(visual\.head\.proj|visual\.trunk\.head(\.fc)?|text\.text_projection)\.weight', n):
            side = 'visual' if n.startswith('visual') else 'text'
            tensors[n] = torch.eye(width[side], dtype=torch.float64)
        elif re.fullmatch(r'(visual\.head\.proj|visual\.trunk\.head(\.fc)?|text\.text_projection)\.bias', n):
            tensors[n] = torch.zeros(width['visual' if n.startswith('visual') else 'text'], dtype=torch.float64)
        elif n.startswith('visual.head.mlp.'):
            del tensors[n]


def report(model, side, features, tensors, prefix, inference=None):
    n, width = features.shape
    index = torch.arange(n * width, dtype=torch.float64).reshape(n, width)
    (features * torch.sin(1 + index)).sum().backward()
    line(model, side, 'features', features.detach() if inference is None else inference)
    if inference is not None:
        line(model, side, 'batch_features', features.detach())
    for name, t in tensors.items():
        if t.grad is not None:
            line(model, side, name[len(prefix):] if name.startswith(prefix) else name, t.grad)


def line(model, side, name, x):
    x, k = x.flatten(), torch.arange(x.numel(), dtype=torch.float64)
    print(model, side, name, *(f'{v:.9e}' for v in (x.norm().item(), (x * torch.sin(.7 * (k + 1))).sum().item(), (x * torch.cos(1.3 * k)).sum().item())))


def width_of(rows, key):
    return rows[0][key].shape[-1]


def family(name):
    d = f'{shared}/golden/families/families/{name}'
    config = json.load(open(f'{d}/open_clip/open_clip_config.json'))
    pre, c = config['preprocess_cfg'], config['model_cfg']
    tensors = {n: t.double() if t.is_floating_point() else t for n, t in clipref.load_safetensors(f'{d}/open_clip/open_clip_model.safetensors').items()}
    rows, want = list(clipref.read_stream(f'{d}/batch.msgpack')), list(clipref.read_stream(f'{d}/forward.msgpack'))
    get = lambda side: width_of(want, f'{side}_features') if f'{side}_features' in want[0] else width_of(want, f'{side}_embedding')
    identity(tensors, {'visual': get('image'), 'text': get('text')})
    for t in tensors.values():
        if t.is_floating_point():
            t.requires_grad_()
    p = famref.P(tensors)
    x = np.stack([r['image'] for r in rows]) / 255.
    x = torch.tensor((x - np.array(pre['mean'])[:, None, None]) / np.array(pre['std'])[:, None, None])
    quick = c.get('quick_gelu', False)
    image = lambda: famref.image(p / 'visual', c['vision_cfg'], x, quick)
    inference = None
    if any(n.endswith('running_mean') for n in tensors):
        with torch.no_grad():
            inference = image()
        inference_norm, famref.P.bn = famref.P.bn, batch_norm
    report(name, 'vision', image(), {n: t for n, t in tensors.items() if n.startswith('visual.')}, '-', inference)
    if inference is not None:
        famref.P.bn = inference_norm
    tok = torch.tensor(np.stack([r['tokens'] for r in rows]).astype(np.int64))
    prefix = 'text.' if 'text.' in p else ''
    report(name, 'text', famref.text(p / 'text' if prefix else p, c['text_cfg'], tok, quick),
           {n: t for n, t in tensors.items() if n.startswith(prefix) and not n.startswith('visual.')}, 'text.')


def text(name):
    """Of the first four records."""
    d = f'{shared}/golden/text/models/{name}'
    if not os.path.exists(f'{d}/arch.json'):
        huggingface(name, d)
        return
    c = json.load(open(f'{d}/arch.json'))
    tensors = {n[5:]: t.double() if t.is_floating_point() else t for n, t in clipref.load_safetensors(f'{d}/model.safetensors').items() if n.startswith('text.')}
    for n in list(tensors):
        if n.startswith(('text_projection', 'proj.')):
            del tensors[n]
    for t in tensors.values():
        if t.is_floating_point():
            t.requires_grad_()
    tok = torch.tensor(np.stack([r['tokens'] for r in list(clipref.read_stream(f'{d}/batch.msgpack'))[:4]]).astype(np.int64))
    t = c['text_cfg']
    report(name, 'text', textref.huggingface(tensors, t, tok) if t.get('hf_model_name') else textref.modern(tensors, t, tok) if t.get('text_arch') == 'modern'
           else textref.native(tensors, t, c.get('quick_gelu'), tok), tensors, '-')


def huggingface(name, d):
    """The same of a folder of Hugging Face's: of AltCLIP before its transformation."""
    c = json.load(open(f'{d}/config.json'))
    old = 'text_model.roberta.' if c['model_type'] == 'altclip' else 'text_model.'
    tensors = {n.replace(old, 'transformer.').replace('text_model.', 'transformer.'): t.double() for n, t in clipref.load_safetensors(f'{d}/model.safetensors').items()
               if n.startswith('text_model.') and t.is_floating_point() and 'transformation' not in n}
    for t in tensors.values():
        t.requires_grad_()
    tok = torch.tensor(np.stack([r['tokens'] for r in list(clipref.read_stream(f'{d}/batch.msgpack'))[:4]]).astype(np.int64))
    x = textref.bert(tensors, {**c['text_config'], 'model_type': 'xlm-roberta' if c['model_type'] == 'altclip' else 'bert'}, tok, 'transformer.')[0]
    if 'transformer.pre_LN.weight' in tensors:
        x = textref.norm(tensors, 'transformer.pre_LN', x, c['text_config']['layer_norm_eps'])
    report(name, 'text', x[:, 0], tensors, '-')


for name in sys.argv[2:] or FAMILIES + TEXTS:
    (family if name in FAMILIES else text)(name)

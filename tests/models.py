"""Weights as people save them, without PyTorch: safetensors, and torch.save's files, whose globals are stand-ins.

    from models import load, save, torch_save, Tensor
"""
import collections
import json
import pickle
import struct
import sys
import types
import zipfile

TYPES = {'F64': ('DoubleStorage', 8), 'F32': ('FloatStorage', 4), 'F16': ('HalfStorage', 2),
         'BF16': ('BFloat16Storage', 2), 'I64': ('LongStorage', 8), 'I32': ('IntStorage', 4),
         'U8': ('ByteStorage', 1)}


class Tensor:
    """dtype of safetensors, shape, and the bytes of the numbers, in C order."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), bytes(data)

    def __reduce__(self):
        stride, n = [], 1
        for size in reversed(self.shape):
            stride.insert(0, n)
            n *= size
        return _module('torch._utils')._rebuild_tensor_v2, (
            Storage(self), 0, tuple(self.shape), tuple(stride), False, collections.OrderedDict())


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


def floats(*values, shape=None):
    return Tensor('F32', [len(values)] if shape is None else shape, struct.pack('<%df' % len(values), *values))


def load(path):
    """A safetensors file: {name: Tensor}."""
    data = open(path, 'rb').read()
    size, = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8 + size])
    header.pop('__metadata__', None)
    begin = 8 + size
    return {name: Tensor(e['dtype'], e['shape'], data[begin + e['data_offsets'][0]:begin + e['data_offsets'][1]])
            for name, e in header.items()}


def metadata(path):
    data = open(path, 'rb').read()
    size, = struct.unpack('<Q', data[:8])
    return json.loads(data[8:8 + size])['__metadata__']


def save(path, tensors, **meta):
    header, end = {'__metadata__': {'format': 'pt', **meta}}, 0
    for name, t in tensors.items():
        header[name] = {'dtype': t.dtype, 'shape': t.shape, 'data_offsets': [end, end + len(t.data)]}
        end += len(t.data)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for t in tensors.values():
            file.write(t.data)


def same(a, b):
    """Two safetensors files hold the same tensors; says which do not."""
    a, b = load(a), load(b)
    wrong = [n for n in a.keys() | b.keys()
             if n not in a or n not in b or vars(a[n]) != vars(b[n])]
    assert not wrong, wrong


# --- globals that pickles name ---

def _module(name):
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
        outer, _, inner = name.rpartition('.')
        if outer:
            setattr(_module(outer), inner, sys.modules[name])
    return sys.modules[name]


def make(path):
    """A class of that full name, whose objects are pickled by it."""
    outer, _, name = path.rpartition('.')
    module = _module(outer)
    if not hasattr(module, name):
        setattr(module, name, type(name, (), {'__module__': outer, '__qualname__': name}))
    return getattr(module, name)


def call(path, *arguments):
    """What is pickled as a call of the function of that name."""
    outer, _, name = path.rpartition('.')
    module = _module(outer)
    if not hasattr(module, name):
        def function(*_):
            pass
        function.__module__, function.__qualname__, function.__name__ = outer, name, name
        setattr(module, name, function)

    class Call:
        def __reduce__(self):
            return getattr(module, name), arguments
    return Call()


call('torch._utils._rebuild_tensor_v2')
for _storage, _ in TYPES.values():
    make('torch.' + _storage)


class _Pickler(pickle.Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages = []

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages.append(value.tensor)
        name, size = TYPES[value.tensor.dtype]
        return ('storage', make('torch.' + name), str(len(self.storages) - 1), 'cpu', len(value.tensor.data) // size)


def torch_save(path, value):
    """torch.save(value, path): a zip of a pickle and the storages."""
    with zipfile.ZipFile(path, 'w') as out:
        with out.open('archive/data.pkl', 'w') as file:
            pickler = _Pickler(file)
            pickler.dump(value)
        for i, tensor in enumerate(pickler.storages):
            out.writestr('archive/data/%d' % i, tensor.data)


def prefixed(prefix, tensors):
    return collections.OrderedDict((prefix + name, t) for name, t in tensors.items())


# --- big_vision's archives, by NumPy ---

def big_vision(tensors, heads, root='params/', stacked=False):
    """open_clip's tensors of a SigLIP under big_vision's names and shapes: {name: array}. `heads` of the image and the
    text tower; `stacked`: each tensor of all blocks as one."""
    import numpy as np
    arrays = {n: np.frombuffer(t.data, '<f4').reshape(t.shape) for n, t in tensors.items()}
    out = {root + 't': arrays['logit_scale'].reshape(1), root + 'b': arrays['logit_bias'].reshape(1)}

    def norm(name, ours):
        out[name + '/scale'], out[name + '/bias'] = arrays[ours + '.weight'], arrays[ours + '.bias']

    def linear(name, ours):
        out[name + '/kernel'], out[name + '/bias'] = arrays[ours + '.weight'].T, arrays[ours + '.bias']

    def attention(name, n, parts, proj):
        for part, weight, bias in parts:
            out[f'{name}/{part}/kernel'] = weight.T.reshape(weight.shape[1], n, -1)
            out[f'{name}/{part}/bias'] = bias.reshape(n, -1)
        weight = arrays[proj + '.weight']
        out[name + '/out/kernel'] = weight.T.reshape(n, -1, weight.shape[0])
        out[name + '/out/bias'] = arrays[proj + '.bias']

    def block(name, ours, n, norms, qkv, proj, mlps):
        norm(name + '/LayerNorm_0', ours + norms[0])
        norm(name + '/LayerNorm_1', ours + norms[1])
        attention(name + '/MultiHeadDotProductAttention_0', n,
                  zip(('query', 'key', 'value'), *(np.split(arrays[ours + qkv + x], 3) for x in ('weight', 'bias'))), ours + proj)
        for i in range(2):
            linear(f'{name}/MlpBlock_0/Dense_{i}', ours + mlps[i])

    def blocks(name, ours, *rest):
        count = sum(n.startswith(ours) and n.endswith(rest[-1][0] + '.weight') for n in arrays)
        for i in range(count):
            block(f'{name}/encoderblock_{i}', f'{ours}{i}.', *rest)
        for key in [k for k in out if k.startswith(name + '/encoderblock_0/')] if stacked else []:
            every = [out.pop(key.replace('encoderblock_0', f'encoderblock_{i}')) for i in range(count)]
            out[key.replace('encoderblock_0', 'encoderblock')] = np.stack(every)

    image, text, trunk = root + 'img/', root + 'txt/', 'visual.trunk.'
    if trunk + 'embeds.proj.weight' in arrays:
        linear(image + 'embedding', trunk + 'embeds.proj')
        out[image + 'pos_embedding'] = arrays[trunk + 'embeds.pos_embed'][0]
    else:
        out[image + 'embedding/kernel'] = arrays[trunk + 'patch_embed.proj.weight'].transpose(2, 3, 1, 0)
        out[image + 'embedding/bias'] = arrays[trunk + 'patch_embed.proj.bias']
        out[image + 'pos_embedding'] = arrays[trunk + 'pos_embed']
    blocks(image + 'Transformer', trunk + 'blocks.', heads[0], ('norm1', 'norm2'), 'attn.qkv.', 'attn.proj', ('mlp.fc1', 'mlp.fc2'))
    norm(image + 'Transformer/encoder_norm', trunk + 'norm')
    pool, ours = image + 'MAPHead_0/', trunk + 'attn_pool.'
    out[pool + 'probe'] = arrays[ours + 'latent']
    kv = [np.split(arrays[f'{ours}kv.{x}'], 2) for x in ('weight', 'bias')]
    attention(pool + 'MultiHeadDotProductAttention_0', heads[0],
              [('query', arrays[ours + 'q.weight'], arrays[ours + 'q.bias']), ('key', kv[0][0], kv[1][0]), ('value', kv[0][1], kv[1][1])],
              ours + 'proj')
    norm(pool + 'LayerNorm_0', ours + 'norm')
    for i in range(2):
        linear(f'{pool}MlpBlock_0/Dense_{i}', f'{ours}mlp.fc{i + 1}')
    out[text + 'Embed_0/embedding'] = arrays['text.token_embedding.weight']
    out[text + 'pos_embedding'] = arrays['text.positional_embedding'][None]
    blocks(text + 'Encoder_0', 'text.transformer.resblocks.', heads[1], ('ln_1', 'ln_2'), 'attn.in_proj_', 'attn.out_proj',
           ('mlp.c_fc', 'mlp.c_proj'))
    norm(text + 'Encoder_0/encoder_norm', 'text.ln_final')
    linear(text + 'head', 'text.text_projection')
    return out

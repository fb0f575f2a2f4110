#!/usr/bin/python3
"""quantize.py IN.onnx OUT.onnx: products with constant matrices become ONNX Runtime's dynamic 8 bits, as its own tool
makes them: the input is rounded to u8 as it comes (DynamicQuantizeLinear), weights to s8 with a scale for each output,
and MatMulInteger's sums are scaled back. Needs python3-onnx."""
import sys

import numpy
import onnx
from onnx import helper, numpy_helper

source, target = sys.argv[1:]
model = onnx.load(source)
graph = model.graph
constants = {t.name: t for t in graph.initializer}
for node in graph.node:
    if node.op_type == "Constant":
        constants[node.output[0]] = node.attribute[0].t
nodes, rounded = [], {}


def round_weights(name, transposed):
    """Adds the rounded matrix [k, n], its scales and zero point; returns their names."""
    if (name, transposed) not in rounded:
        w = numpy_helper.to_array(constants[name])
        w = w.T if transposed else w
        scale = numpy.abs(w).max(0) / 127
        q = numpy.rint(w / numpy.where(scale > 0, scale, 1)).astype(numpy.int8)
        names = [f"{name}_{part}" for part in ("q", "scale", "zero")]
        parts = numpy.ascontiguousarray(q), scale.astype(numpy.float32), numpy.zeros(len(scale), numpy.int8)
        for part_name, part in zip(names, parts):
            graph.initializer.append(numpy_helper.from_array(part, part_name))
        rounded[name, transposed] = names
    return rounded[name, transposed]


def is_matrix(name):
    return name in constants and len(constants[name].dims) == 2


for i, node in enumerate(graph.node):
    gemm = node.op_type == "Gemm"
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type not in ("MatMul", "Gemm") or not is_matrix(node.input[1]) or attributes.get("transA"):
        nodes.append(node)
        continue
    q, scale, zero = round_weights(node.input[1], bool(attributes.get("transB")))
    x, y = node.input[0], node.output[0]
    name = f"int8_{i}"
    end = f"{name}_product" if gemm and len(node.input) > 2 else y
    nodes += [
        helper.make_node("DynamicQuantizeLinear", [x], [f"{name}_x", f"{name}_xs", f"{name}_xz"]),
        helper.make_node("MatMulInteger", [f"{name}_x", q, f"{name}_xz", zero], [f"{name}_sums"]),
        helper.make_node("Cast", [f"{name}_sums"], [f"{name}_floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_xs", scale], [f"{name}_scales"]),
        helper.make_node("Mul", [f"{name}_floats", f"{name}_scales"], [end]),
    ]
    if end != y:
        nodes.append(helper.make_node("Add", [end, node.input[2]], [y]))
del graph.node[:]
graph.node.extend(nodes)
used = {name for node in graph.node for name in node.input}
kept = [t for t in graph.initializer if t.name in used]
del graph.initializer[:]
graph.initializer.extend(kept)
if not rounded:
    sys.exit(f"{source}: no product with a constant matrix")
onnx.save(model, target)
print(f"{len(rounded)} matrices")

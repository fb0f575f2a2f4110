#!/usr/bin/env node
// run.js MODEL.onnx INPUT THREADS REPEAT OUTPUT: times a model in ONNX Runtime (npm's onnxruntime-node, in $NODE_PATH).
// INPUT: a line of JSON, {"type": "float32" or "int64", "shape": [...]}, then the numbers. OUTPUT: f32, those of the last
// run. Prints one JSON line: seconds by the clock and of the processor, for each repeat after a first run that warms.
// Threads are asked not to spin where they wait, which would count as the processor's time.
const fs = require('fs'), ort = require('onnxruntime-node');
const [model, input, threads, repeat, output] = process.argv.slice(2);

async function main() {
  const bytes = fs.readFileSync(input), end = bytes.indexOf(10);
  const { type, shape } = JSON.parse(bytes.subarray(0, end));
  const numbers = new Uint8Array(bytes.subarray(end + 1)).buffer;
  const x = new ort.Tensor(type, new (type === 'int64' ? BigInt64Array : Float32Array)(numbers), shape);
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: Number(threads), interOpNumThreads: 1, graphOptimizationLevel: 'all', logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  let { y } = await session.run({ x });
  const wall = [], processor = [];
  for (let i = 0; i < Number(repeat); i++) {
    const start = process.hrtime.bigint(), used = process.cpuUsage();
    ({ y } = await session.run({ x }));
    const { user, system } = process.cpuUsage(used);
    wall.push(Number(process.hrtime.bigint() - start) / 1e9);
    processor.push((user + system) / 1e6);
  }
  fs.writeFileSync(output, Buffer.from(y.data.buffer, y.data.byteOffset, y.data.byteLength));
  console.log(JSON.stringify({ version: require('onnxruntime-node/package.json').version, wall, processor }));
}
main();

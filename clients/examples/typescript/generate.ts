// ViCo from TypeScript: ask for pictures, save them, print what the server says it did. docs/wire.md explains every field.
//
//     npm ci && npm run build && npm run --silent generate -- "a photo of * on grass" my-toy picture

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

import type { ModelInferRequest } from "./generated/inference/ModelInferRequest";
import type { ModelInferResponse__Output } from "./generated/inference/ModelInferResponse";
import type { _inference_ModelInferRequest_InferInputTensor as Tensor } from "./generated/inference/ModelInferRequest";
import type { ProtoGrpcType } from "./generated/vico_inference";

const PROTO = process.env.VICO_PROTO ?? join(__dirname, "../../../proto/vico_inference.proto");
const TIMEOUT_SECONDS = 120;

const text = (name: string, value: string): Tensor => ({
  name, datatype: "BYTES", shape: [1], contents: { bytes_contents: [Buffer.from(value, "utf-8")] },
});
const int32 = (name: string, value: number): Tensor => ({
  name, datatype: "INT32", shape: [1], contents: { int_contents: [value] },
});
const int64 = (name: string, value: number): Tensor => ({
  name, datatype: "INT64", shape: [1], contents: { int64_contents: [value] },
});
const fp32 = (name: string, value: number): Tensor => ({
  name, datatype: "FP32", shape: [1], contents: { fp32_contents: [value] },
});

/** The elements of a BYTES output: each behind its length, a little-endian uint32. */
function elements(answer: ModelInferResponse__Output, name: string): Buffer[] {
  const content = answer.raw_output_contents[answer.outputs.findIndex((output) => output.name === name)];
  const found: Buffer[] = [];
  for (let at = 0; at < content.length; ) {
    const length = content.readUInt32LE(at);
    found.push(content.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

function main([prompt, concept, out, steps = "25", seed = "7", images = "1"]: string[]): void {
  const loaded = loadSync(PROTO, { longs: Number, enums: String, defaults: true, oneofs: true, keepCase: true });
  const inference = (grpc.loadPackageDefinition(loaded) as unknown as ProtoGrpcType).inference;
  const client = new inference.GRPCInferenceService(
    process.env.VICO_ADDRESS ?? "localhost:8001",
    grpc.credentials.createInsecure(),
    { "grpc.max_receive_message_length": -1 },
  );
  const metadata = new grpc.Metadata();
  if (process.env.VICO_API_KEY) metadata.set("authorization", `Bearer ${process.env.VICO_API_KEY}`);
  const request: ModelInferRequest = {
    model_name: "vico",
    id: `typescript-${process.pid}`,
    parameters: { timeout: { int64_param: TIMEOUT_SECONDS * 1e6 } },
    inputs: [
      text("prompt", prompt), text("concept", concept), int64("seed", Number(seed)), int32("steps", Number(steps)),
      int32("num_images", Number(images)), fp32("guidance_scale", 7.5),
    ],
  };
  const deadline = Date.now() + TIMEOUT_SECONDS * 1000;
  client.ModelInfer(request, metadata, { deadline }, (error, answer) => {
    client.close();
    if (error || !answer) {
      console.error(`${grpc.status[error?.code ?? grpc.status.UNKNOWN]} ${error?.details}`);
      process.exitCode = 1;
      return;
    }
    elements(answer, "images").forEach((file, number) => writeFileSync(`${out}-${number + 1}.png`, file));
    console.log(elements(answer, "info")[0].toString("utf-8"));
  });
}

main(process.argv.slice(2));

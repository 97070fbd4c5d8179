// The certificate that a server on loopback shows: its own authority, good for 127.0.0.1.
import { generate } from "selfsigned";

/** PEM, both. */
export interface Serving {
  readonly cert: string;
  readonly key: string;
}

export async function certificateFor(commonName: string): Promise<Serving> {
  const made = await generate([{ name: "commonName", value: commonName }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true },
      {
        name: "subjectAltName",
        altNames: [
          { type: 7, ip: "127.0.0.1" },
          { type: 2, value: "localhost" },
        ],
      },
    ],
  });
  return { cert: made.cert, key: made.private };
}

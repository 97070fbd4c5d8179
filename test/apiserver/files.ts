// The files that an API server and its controllers start from: keys, tokens, the audit policy, kubeconfigs.
import { generateKeyPair, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

export interface ServerFiles {
  readonly dir: string;
  readonly adminToken: string;
  readonly controllerToken: string;
  readonly tokens: string;
  readonly accountKey: string;
  readonly accountPublicKey: string;
  readonly auditPolicy: string;
  readonly auditLog: string;
  readonly certs: string;
  /** Written by kube-apiserver at its first start. */
  readonly servingCert: string;
  readonly servingKey: string;
}

export async function writeServerFiles(dir: string): Promise<ServerFiles> {
  const files: ServerFiles = {
    dir,
    adminToken: randomBytes(16).toString("hex"),
    controllerToken: randomBytes(16).toString("hex"),
    tokens: join(dir, "tokens.csv"),
    accountKey: join(dir, "account.key"),
    accountPublicKey: join(dir, "account.pub"),
    auditPolicy: join(dir, "audit-policy.yaml"),
    auditLog: join(dir, "audit.log"),
    certs: join(dir, "certs"),
    servingCert: join(dir, "certs", "apiserver.crt"),
    servingKey: join(dir, "certs", "apiserver.key"),
  };
  const keys = await promisify(generateKeyPair)("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  const tokens = [`${files.adminToken},admin,admin,"system:masters"`, `${files.controllerToken},system:kube-controller-manager,controller-manager`];
  await Promise.all([
    writeFile(files.accountKey, keys.privateKey, { mode: 0o600 }),
    writeFile(files.accountPublicKey, keys.publicKey),
    writeFile(files.tokens, `${tokens.join("\n")}\n`, { mode: 0o600 }),
    writeFile(files.auditPolicy, auditPolicy),
    // A test may read the log before the first event is in it.
    writeFile(files.auditLog, ""),
  ]);
  return files;
}

// Controllers would fill the log with calls that no test asks about.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  users: ["system:apiserver", "system:kube-controller-manager"]
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
- level: None
  nonResourceURLs: ["/readyz", "/livez", "/healthz"]
- level: Metadata
`;

/** Kubeconfig YAML of one user with a bearer token. An http:// server (a proxy) has no certificate to check. */
export function kubeconfigText(server: string, ca: string, token: string, namespace = "default"): string {
  const authority = `\n    certificate-authority-data: ${Buffer.from(ca).toString("base64")}`;
  return `apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster:
    server: ${server}${server.startsWith("https:") ? authority : ""}
users:
- name: user
  user:
    token: ${token}
contexts:
- name: context
  context:
    cluster: cluster
    user: user
    namespace: ${namespace}
current-context: context
`;
}

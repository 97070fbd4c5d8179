// What the settings of an environment come to: a config, or its problems.
import assert from "node:assert/strict";
import type { Config } from "../../shared/run/config.ts";
import { configFrom } from "../../shared/run/config.ts";

export type Environment = Readonly<Record<string, string>>;

export function configOf(environment: Environment = {}): Config {
  const answer = configFrom(environment);
  if ("problems" in answer) assert.fail(answer.problems.join("; "));
  return answer.config;
}

export function problemsOf(environment: Environment): string[] {
  const answer = configFrom(environment);
  return "problems" in answer ? answer.problems : [];
}

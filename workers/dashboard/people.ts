// Who is in which group, as their providers say: for the search alone, and read again only for those of whom more is known than before. No I/O.

/** Everybody that the last count has met. */
export class People {
  readonly #known = new Map<string, { readonly n: number; readonly groups: readonly string[] }>();
  readonly #members = new Map<string, Set<string>>();

  has(user: string): boolean {
    return this.#known.has(user);
  }
  get groups(): Iterable<string> {
    return this.#members.keys();
  }
  /** Undefined where nobody is in it. */
  membersOf(group: string): ReadonlySet<string> | undefined {
    return this.#members.get(group);
  }

  /** Whether what is known of the user's groups is older than facts of this number. */
  isOlder(user: string, n: number): boolean {
    return (this.#known.get(user)?.n ?? -1) < n;
  }
  learn(user: string, n: number, groups: readonly string[]): void {
    this.#leave(user);
    this.#known.set(user, { n, groups });
    for (const group of groups) this.#members.set(group, (this.#members.get(group) ?? new Set()).add(user));
  }
  /** Whoever has no subject any more. */
  forgetAllBut(users: ReadonlySet<string>): void {
    for (const user of this.#known.keys()) {
      if (users.has(user)) continue;
      this.#leave(user);
      this.#known.delete(user);
    }
  }

  #leave(user: string): void {
    for (const group of this.#known.get(user)?.groups ?? []) {
      const members = this.#members.get(group)!;
      members.delete(user);
      if (members.size === 0) this.#members.delete(group);
    }
  }
}

// Times as Kubernetes writes them.

const RFC_3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

/**
 * An RFC 3339 time in ms since 1970; NaN for anything else. `Date.parse` alone reads the year 4734 in "not before 4734".
 * @see https://www.rfc-editor.org/rfc/rfc3339#section-5.6
 */
export const timeIn = (text: unknown): number => (typeof text === "string" && RFC_3339.test(text) ? Date.parse(text) : Number.NaN);

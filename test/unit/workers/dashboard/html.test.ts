// What may be put into a page: text that is escaped, and nothing else.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { html } from "../../../../workers/dashboard/html.ts";
import { anyText } from "../../../support/builders.ts";

test("no text ends a tag or an attribute, because ids and reasons are chosen by others", () => {
  assert.equal(html`<a title="${`"'<>&`}">${"<script>"}</a>`.toString(), '<a title="&quot;&#39;&lt;&gt;&amp;">&lt;script&gt;</a>');
  fc.assert(fc.property(anyText, (text) => assert.doesNotMatch(html`${text}`.toString(), /[<>"']/)));
});

test("what was escaped once is not escaped again, and absent values leave nothing", () => {
  const item = (name: string) => html`<li>${name}</li>`;
  assert.equal(html`<ul>${["a&b", "c"].map(item)}${undefined}${[]}${0}</ul>`.toString(), "<ul><li>a&amp;b</li><li>c</li>0</ul>");
});

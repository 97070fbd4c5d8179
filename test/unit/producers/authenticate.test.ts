// Who may call the hook: signatures made by hand against the product's check, and bearer secrets. Every refusal says what to send instead.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import fc from "fast-check";
import { type Caller, authenticate } from "../../../producers/authenticate.ts";
import { NOW, anyCharacter } from "../../support/builders.ts";
import { signed } from "../../support/signed.ts";

const PLAIN = "a-plain-secret-of-one-proxy-0123456789";
const WHSEC = `whsec_${Buffer.from("the bytes of the other proxy's secret").toString("base64")}`;
const BOTH = [WHSEC, PLAIN];
const BODY = '{"user":"u-abc"}';
const MINUTE = 60_000;
// The library that checks signatures reads the clock itself.
mock.timers.enable({ apis: ["Date"], now: NOW });

const at = (caller: Caller): number => ("at" in caller ? caller.at : assert.fail(caller.refused));
const refusal = (caller: Caller): string => ("refused" in caller ? caller.refused : assert.fail("it was let in"));

for (const [what, secret] of Object.entries({ "a plain secret": PLAIN, "a whsec_ secret": WHSEC })) {
  test(`a signature with ${what} of a list is taken, so that secrets can be changed one proxy at a time`, () => {
    const caller = authenticate(signed(secret, BODY, { id: "m-1", at: NOW }), Buffer.from(BODY), BOTH, NOW);
    assert.deepEqual(caller, { at: NOW, id: "m-1" });
    assert.match(
      refusal(
        authenticate(
          signed(secret, BODY, { at: NOW }),
          BODY,
          BOTH.filter((other) => other !== secret),
          NOW,
        ),
      ),
      /signature is wrong/,
    );
  });
}

test("one good signature of several in the header is enough, because a sender signs with the old and the new secret while it rotates", () => {
  const good = signed(PLAIN, BODY, { at: NOW });
  const bad = signed("somebody-else's-secret", BODY, { id: good["webhook-id"], at: NOW })["webhook-signature"];
  const both = { ...good, "webhook-signature": `${bad} v1a,${"A".repeat(88)} ${good["webhook-signature"]}` };
  assert.equal(at(authenticate(both, BODY, [PLAIN], NOW)), NOW);
});

for (const [what, offset, taken] of [
  ["five minutes old", -5 * MINUTE, true],
  ["older than five minutes", -5 * MINUTE - 2_000, false],
  ["five minutes ahead", 5 * MINUTE, true],
  ["more than five minutes ahead", 5 * MINUTE + 2_000, false],
] as const) {
  test(`a signature that is ${what} is ${taken ? "taken" : "refused"}, because clocks differ a little and a recorded request must die`, () => {
    const caller = authenticate(signed(PLAIN, BODY, { at: NOW + offset }), BODY, BOTH, NOW);
    if (taken) assert.ok(at(caller) <= NOW, "a clock that runs ahead must not win over later facts");
    else assert.match(refusal(caller), /more than five minutes old/);
  });
}

for (const name of ["webhook-id", "webhook-timestamp", "webhook-signature"] as const) {
  test(`without ${name} it is refused, and told what to send`, () => {
    const { [name]: _, ...rest } = signed(PLAIN, BODY, { at: NOW });
    assert.match(refusal(authenticate(rest, BODY, BOTH, NOW)), /send Authorization: Bearer, or webhook-id, webhook-timestamp and webhook-signature/);
  });
}

for (const id of ["", "x".repeat(257)]) {
  test(`a webhook-id of ${id.length} characters is refused, because each is remembered for a while`, () => {
    assert.match(refusal(authenticate(signed(PLAIN, BODY, { id, at: NOW }), BODY, BOTH, NOW)), /webhook-id has 1 to 256 characters/);
  });
}

for (const timestamp of [
  "",
  "now",
  "NaN",
  "1e9",
  "-1",
  "999999999999999999999",
  String(NOW),
  `${NOW / 1000}.5`,
  `${NOW / 1000}e5`,
  `${NOW / 1000}x`,
  ` ${NOW / 1000}`,
]) {
  test(`the timestamp ${JSON.stringify(timestamp)} is refused, because it is no second of these five minutes`, () => {
    const headers = { ...signed(PLAIN, BODY, { at: NOW }), "webhook-timestamp": timestamp };
    assert.match(refusal(authenticate(headers, BODY, BOTH, NOW)), /webhook-timestamp is the time in whole seconds|signature is wrong/);
  });
}

test("whatever is changed in a signed request makes it a stranger's, because all of it is signed", () => {
  const good = signed(WHSEC, BODY, { id: "m-1", at: NOW });
  const other = (text: string): fc.Arbitrary<string> => fc.string({ unit: anyCharacter, minLength: 1, maxLength: 60 }).filter((drawn) => drawn !== text);
  const spoilt = fc.oneof(
    other(BODY).map((body) => ({ headers: good, body })),
    other("m-1").map((id) => ({ headers: { ...good, "webhook-id": id }, body: BODY })),
    fc.integer({ min: 1, max: 250 }).map((later) => ({ headers: { ...good, "webhook-timestamp": String(Math.floor(NOW / 1000) + later) }, body: BODY })),
    other(good["webhook-signature"]).map((signature) => ({ headers: { ...good, "webhook-signature": signature }, body: BODY })),
  );
  fc.assert(fc.property(spoilt, ({ headers, body }) => void refusal(authenticate(headers, Buffer.from(body), BOTH, NOW))));
});

test("a signature of GET is not one of DELETE, nor one of a target without its query of the target with it", () => {
  const caller = (signedText: string, sent: string): Caller => authenticate(signed(PLAIN, signedText, { at: NOW }), sent, BOTH, NOW);
  assert.ok("at" in caller("DELETE /v1/logins/u?cluster=c-one", "DELETE /v1/logins/u?cluster=c-one"));
  refusal(caller("GET /v1/logins/u", "DELETE /v1/logins/u"));
  refusal(caller("DELETE /v1/logins/u", "DELETE /v1/logins/u?cluster=c-one"));
});

test("a bearer secret of the list is taken at the time of its arrival, because its sender cannot say when", () => {
  for (const secret of BOTH) assert.deepEqual(authenticate({ authorization: `Bearer ${secret}` }, BODY, BOTH, NOW), { at: NOW, id: undefined });
  assert.equal(at(authenticate({ authorization: `bearer ${PLAIN}` }, BODY, BOTH, NOW)), NOW, "the scheme's case is nobody's business (RFC 9110)");
});

test("a bearer secret that is wrong in any way is refused, and a signature beside it does not help: one sender, one word", () => {
  const wrong = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.nat(PLAIN.length - 1).map((cut) => PLAIN.slice(0, cut)),
    fc.constantFrom(`${PLAIN}x`, PLAIN.toUpperCase(), "undefined", "null"),
  );
  const isSecret = (text: string): boolean => BOTH.includes(text);
  fc.assert(
    fc.property(
      wrong.filter((text) => !isSecret(text)),
      (text) => void refusal(authenticate({ authorization: `Bearer ${text}` }, BODY, BOTH, NOW)),
    ),
  );
  assert.match(refusal(authenticate({ ...signed(PLAIN, BODY), authorization: "Bearer wrong" }, BODY, BOTH, NOW)), /bearer secret is wrong/);
});

test("without any secret everybody is refused and the setting is named, because an open hook would give anybody any name", () => {
  for (const headers of [{}, { authorization: "Bearer " }, { authorization: "Bearer undefined" }, signed("", BODY), signed(PLAIN, BODY)])
    assert.match(refusal(authenticate(headers, BODY, [], NOW)), /UNDERSTUDY_HOOK_SECRETS/);
});

test("no refusal repeats what was sent, because it may be the right secret of another hook", () => {
  const sent = "eyJhbGciOi-or-some-secret-0123456789";
  const headers = [{ authorization: `Bearer ${sent}` }, { "webhook-id": sent, "webhook-timestamp": sent, "webhook-signature": sent }];
  for (const one of headers) assert.ok(!refusal(authenticate(one, BODY, BOTH, NOW)).includes(sent));
});

test("a plain secret signs with its UTF-8 bytes, as every other implementation does", () => {
  const secret = "ein-Geheimnis-mit-Umlauten-äöü-€";
  assert.equal(at(authenticate(signed(secret, BODY, { at: NOW }), BODY, [secret], NOW)), NOW);
});

test("a whsec_ secret that is no base64 opens nothing, because its bytes would be none or others", () => {
  for (const secret of ["whsec_", "whsec_%%%%%%%%%%%%%%%%", "whsec_ä"]) refusal(authenticate(signed(secret, BODY), BODY, [secret], NOW));
});

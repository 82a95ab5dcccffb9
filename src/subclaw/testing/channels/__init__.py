"""Local servers that stand for the providers of channels, faithful in signatures, retries, limits and errors.

One module a provider, or a folder with the same names in its `__init__`: `twilio`, `telegram`, `whatsapp`, `slack`,
`discord`, `bluebubbles`, `smtp`, and what is added beside them. Each has, as far as its provider does,

- `fake_<provider>(…)`, an asynchronous context manager that serves on a port of loopback and yields the state of the
  fake: the `base_url` to which the software under test is pointed, what it took (`messages`), what it is to do next;
- `Behaviour`, the ways in which it misbehaves, one for each of the calls that are to come;
- `written(…)` (of Twilio `inbound_sms`), a person's message as the provider reports it, and `say(…)` (`deliver`), which
  signs it and delivers it as often as the provider does;
- `until(fake, count)`, which waits until so many messages were taken.

What the fakes have in common stands in `provider` (how one is served, and waited for), `lost_answers` (how it takes a
message and does not say so) and `webhooks` (how what it reports is delivered until it is taken).

They know nothing of subclaw: any software that speaks to a provider can be tried with them. An example, what each of
them does, and which test of subclaw's shows what stand in `docs/testing-channels.md`.
"""

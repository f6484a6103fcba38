// The official library, as it is, against the address that it is given: one operation a line in, one answer a line out.
import readline from "node:readline";
import twilio from "twilio";

const [base, account, token] = process.argv.slice(2);
const client = twilio(account, token);
client.api.baseUrl = base;

const plain = (message) => ({
  sid: message.sid,
  status: message.status,
  body: message.body,
  to: message.to,
  from: message.from,
  direction: message.direction,
  dateCreated: message.dateCreated?.toISOString(),
  links: message.subresourceUris,
});

const operations = {
  create: async (wanted) => plain(await client.messages.create(wanted)),
  fetch: async (sid) => plain(await client.messages(sid).fetch()),
  list: async (wanted) => (await client.messages.list(wanted)).map(plain),
  remove: async (sid) => client.messages(sid).remove(),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, argument] = JSON.parse(line);
  let answer;
  try {
    answer = { ok: await operations[name](argument) };
  } catch (error) {
    answer = {
      error: error.constructor.name,
      status: error.status,
      code: error.code,
      message: error.message,
      details: error.details,
    };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}

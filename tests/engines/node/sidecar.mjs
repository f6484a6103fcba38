// One JSON object a line in, one a line out. Nothing is kept between two calls: every operation takes the state that
// it works on as bytes, and answers the bytes that come after it. Texts of errors stay here; only a word goes out.
import { createInterface } from 'node:readline'
import * as attacks from './attacks.mjs'
import { Refused, suite } from './codec.mjs'
import * as engine from './engine.mjs'

const operations = { ...engine, ...attacks }
const cs = await suite()

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const { op, ...args } = JSON.parse(line)
  let answer
  try {
    answer = { ok: await operations[op](args, cs) }
  } catch (error) {
    answer = { refused: error instanceof Refused ? error.reason : 'refused' }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}

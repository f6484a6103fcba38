// Bytes in and out, the suite, and the two repairs that ts-mls 1.6.4 needs for `external_pub`.
import {
  ciphersuites,
  decodeGroupState,
  decodeMlsMessage,
  encodeGroupState,
  encodeMlsMessage,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
} from 'ts-mls'
import { defaultClientConfig } from 'ts-mls/clientConfig.js'
import { createGroupInfo } from 'ts-mls/createCommit.js'
import { encode } from 'ts-mls/codec/tlsEncoder.js'
import { ratchetTreeEncoder } from 'ts-mls/ratchetTree.js'

export const SUITE = 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519'
export const PAST_EPOCHS = 5

export const b64 = (bytes) => Buffer.from(bytes).toString('base64')
export const raw = (text) => new Uint8Array(Buffer.from(text, 'base64'))
export const hex = (bytes) => Buffer.from(bytes).toString('hex')

export class Refused extends Error {
  constructor(reason) {
    super(reason)
    this.reason = reason
  }
}

// ts-mls accepts any credential: here it has to be the leaf's own key, as our gate demands it.
const authService = {
  async validateCredential(credential, key) {
    return credential.credentialType === 'basic' && hex(credential.identity) === hex(key)
  },
}

export const config = {
  ...defaultClientConfig,
  authService,
  lifetimeConfig: { ...defaultClientConfig.lifetimeConfig, validateLifetimeOnReceive: true },
  // As far as the other engine goes (mls-rs: 1024 generations), since delivery may be late.
  keyRetentionConfig: {
    retainKeysForEpochs: PAST_EPOCHS,
    retainKeysForGenerations: 1024,
    maximumForwardRatchetSteps: 1024,
  },
}

export async function suite() {
  if (ciphersuites[SUITE] !== 1) throw new Error('suite 1 is not what it was')
  const made = await getCiphersuiteImpl(getCiphersuiteFromName(SUITE))
  const imported = made.hpke.importPublicKey.bind(made.hpke)
  // Repair 1: others write `external_pub` as the vector that RFC 9420, section 12.4.3.2 says; ts-mls reads bare bytes.
  const importPublicKey = (bytes) => imported(bytes.length === 33 && bytes[0] === 32 ? bytes.subarray(1) : bytes)
  return { ...made, hpke: { ...made.hpke, importPublicKey } }
}

// Repair 2: and it writes bare bytes too.
export async function publicGroupInfo(state, cs) {
  const pair = await cs.hpke.deriveKeyPair(state.keySchedule.externalSecret)
  const key = await cs.hpke.exportPublicKey(pair.publicKey)
  const extensions = [
    { extensionType: 'external_pub', extensionData: new Uint8Array([key.length, ...key]) },
    { extensionType: 'ratchet_tree', extensionData: encode(ratchetTreeEncoder)(state.ratchetTree) },
  ]
  const groupInfo = await createGroupInfo(state.groupContext, state.confirmationTag, state, extensions, cs)
  return encodeMlsMessage({ version: 'mls10', wireformat: 'mls_group_info', groupInfo })
}

export function message(bytes, ...wireformats) {
  const decoded = decodeMlsMessage(bytes, 0)
  if (decoded === undefined || decoded[1] !== bytes.length || !wireformats.includes(decoded[0].wireformat))
    throw new Refused('refused')
  return decoded[0]
}

export function load(bytes) {
  let decoded
  try {
    decoded = decodeGroupState(bytes, 0)
  } catch {
    throw new Refused('state')
  }
  if (decoded === undefined || decoded[1] !== bytes.length) throw new Refused('state')
  return { ...decoded[0], clientConfig: config }
}

export const save = (state) => b64(encodeGroupState(state))

// What a malicious member, or a malicious host of a group, can make with keys that it rightly holds. Each forgery is
// the library's own work with one thing wrong, so that a receiver has that one thing to notice; "none" is the control.
import { encodeMlsMessage, makePskIndex } from 'ts-mls'
import { encode } from 'ts-mls/codec/tlsEncoder.js'
import { protectApplicationData } from 'ts-mls/messageProtection.js'
import { addLeafNode, ratchetTreeEncoder } from 'ts-mls/ratchetTree.js'
import { b64, load, message, raw } from './codec.mjs'
import { commitBytes, package_, wire } from './engine.mjs'

const END_MLS = 0xf002

function flipped(bytes) {
  const out = bytes.slice()
  out[0] ^= 1
  return out
}

// The suite, with signatures over one kind of content replaced: how(sign, key, content) makes them.
const signing = (cs, label, how) => ({
  ...cs,
  signature: {
    ...cs.signature,
    sign: (key, content) => {
      const meant = Buffer.from(content.subarray(0, 64)).includes(`MLS 1.0 ${label}`)
      return meant ? how(cs.signature.sign, key, content) : cs.signature.sign(key, content)
    },
  },
})

async function forger(cs, label, wrong) {
  const stranger = await cs.signature.keygen()
  const ways = {
    empty_signature: async () => new Uint8Array(),
    spoilt_signature: async (sign, key, content) => flipped(await sign(key, content)),
    signature_of_a_stranger: (sign, _, content) => sign(stranger.signKey, content),
  }
  return ways[wrong] ? signing(cs, label, ways[wrong]) : cs
}

// A message that says it is of leaf `as`.
export async function forge_message({ state, as, wrong, plaintext }, cs) {
  const me = load(raw(state))
  const used = await forger(cs, 'FramedContentTBS', wrong)
  const { privateMessage } = await protectApplicationData(
    me.signaturePrivateKey,
    me.keySchedule.senderDataSecret,
    raw(plaintext),
    new Uint8Array(),
    me.groupContext,
    me.secretTree,
    as,
    me.clientConfig.paddingConfig,
    used,
  )
  return { message: b64(encodeMlsMessage({ version: 'mls10', wireformat: 'mls_private_message', privateMessage })) }
}

const wrongTag = (cs) => {
  // The confirmation tag is the first MAC of a commit; the membership tag over it stays right.
  let count = 0
  const mac = async (key, data) => (count++ === 0 ? flipped(await cs.hash.mac(key, data)) : cs.hash.mac(key, data))
  return { ...cs, hash: { ...cs.hash, mac } }
}

// A Welcome for `package`, whose GroupInfo has one thing wrong.
export async function forge_welcome({ state, package: data, wrong }, cs) {
  const me = load(raw(state))
  const proposals = [{ proposalType: 'add', add: { keyPackage: message(raw(data), 'mls_key_package').keyPackage } }]
  const used = wrong === 'confirmation_tag' ? wrongTag(cs) : await forger(cs, 'GroupInfoTBS', wrong)
  if (wrong !== 'tree') return { welcome: (await commitBytes({ state: me, cipherSuite: used }, proposals)).welcome }
  // A tree with one leaf more than the group has: an addition without path leads to the same tree each time.
  const { state: after } = await commitBytes({ state: me, cipherSuite: cs }, proposals)
  const ghost = await package_(b64(cs.rng.randomBytes(32)), cs)
  const [tree] = addLeafNode(after.ratchetTree, ghost.publicPackage.leafNode)
  const extensions = [{ extensionType: 'ratchet_tree', extensionData: encode(ratchetTreeEncoder)(tree) }]
  const made = await commitBytes({ state: me, cipherSuite: cs }, proposals, {
    ratchetTreeExtension: false,
    groupInfoExtensions: extensions,
  })
  return { welcome: made.welcome }
}

// A commit that adds `package`, with one thing wrong.
export async function forge_commit({ state, package: data, wrong, as }, cs) {
  let me = load(raw(state))
  const proposals = [{ proposalType: 'add', add: { keyPackage: message(raw(data), 'mls_key_package').keyPackage } }]
  let pskIndex = makePskIndex(me, {})
  if (wrong === 'another_leaf') me = { ...me, privatePath: { ...me.privatePath, leafIndex: as } }
  if (wrong === 'unknown_psk') {
    const preSharedKeyId = { psktype: 'external', pskId: raw('bm9ib2R5'), pskNonce: cs.rng.randomBytes(32) }
    proposals.push({ proposalType: 'psk', psk: { preSharedKeyId } })
    const secret = cs.rng.randomBytes(32)
    pskIndex = { findPsk: () => secret }
  }
  const used = wrong === 'confirmation_tag' ? wrongTag(cs) : await forger(cs, 'FramedContentTBS', wrong)
  return { commit: (await commitBytes({ state: me, cipherSuite: used, pskIndex }, proposals)).commit }
}

// A key package that is rightly signed, of a time `days` from now.
export async function package_of({ seed, days }, cs) {
  const { publicPackage } = await package_(seed, cs, BigInt(days) * 86400n)
  return { package: b64(wire(publicPackage)) }
}

// A Welcome for `package` into a group that says of itself that it is not encrypted (RCC.16: `end_mls` in its context).
export async function downgraded_welcome({ state, package: data }, cs) {
  const extensions = [{ extensionType: END_MLS, extensionData: new Uint8Array() }]
  const proposals = [
    { proposalType: 'add', add: { keyPackage: message(raw(data), 'mls_key_package').keyPackage } },
    { proposalType: 'group_context_extensions', groupContextExtensions: { extensions } },
  ]
  return { welcome: (await commitBytes({ state: load(raw(state)), cipherSuite: cs }, proposals)).welcome }
}

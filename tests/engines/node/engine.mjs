// The operations of an engine, on ts-mls.
import {
  createApplicationMessage,
  createCommit,
  createGroup,
  defaultCapabilities,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackageWithKey,
  joinGroup,
  joinGroupExternal,
  processMessage,
} from 'ts-mls'
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js'
import { decryptSenderData } from 'ts-mls/privateMessage.js'
import { ed25519 } from '@noble/curves/ed25519.js'
import { SUITE, Refused, b64, config, hex, load, message, publicGroupInfo, raw, save } from './codec.mjs'

const LIFETIME_S = 84n * 24n * 3600n
const SKEW_S = 3600n

const pair = (seed) => ({ signKey: raw(seed), publicKey: ed25519.getPublicKey(raw(seed)) })

export async function package_(seed, cs, shift = 0n) {
  const keys = pair(seed)
  const now = BigInt(Math.floor(Date.now() / 1000)) + shift
  const lifetime = { notBefore: now - SKEW_S, notAfter: now + LIFETIME_S }
  const credential = { credentialType: 'basic', identity: keys.publicKey }
  return generateKeyPackageWithKey(credential, defaultCapabilities(), lifetime, [], keys, cs)
}

export const wire = (keyPackage) => encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage })

export async function public_key({ seed }) {
  return { key: b64(pair(seed).publicKey) }
}

export async function key_package({ seed }, cs) {
  const { publicPackage, privatePackage } = await package_(seed, cs)
  return {
    package: b64(wire(publicPackage)),
    ref: hex(await makeKeyPackageRef(publicPackage, cs.hash)),
    init: b64(privatePackage.initPrivateKey),
    leaf: b64(privatePackage.hpkePrivateKey),
  }
}

export async function create({ seed, group_id }, cs) {
  const { publicPackage, privatePackage } = await package_(seed, cs)
  return { state: save(await createGroup(raw(group_id), publicPackage, privatePackage, [], cs, config)) }
}

export const commitBytes = async (context, proposals, more = {}) => {
  const options = { extraProposals: proposals, wireAsPublicMessage: true, ratchetTreeExtension: true, ...more }
  const made = await createCommit(context, options)
  const welcome = made.welcome && { version: 'mls10', wireformat: 'mls_welcome', welcome: made.welcome }
  return {
    state: made.newState,
    commit: b64(encodeMlsMessage(made.commit)),
    welcome: welcome ? b64(encodeMlsMessage(welcome)) : null,
  }
}

export async function commit({ state, adds, removes }, cs) {
  const before = load(raw(state))
  const proposals = adds.map((data) => ({
    proposalType: 'add',
    add: { keyPackage: message(raw(data), 'mls_key_package').keyPackage },
  }))
  for (const removed of removes) proposals.push({ proposalType: 'remove', remove: { removed } })
  const made = await commitBytes({ state: before, cipherSuite: cs }, proposals)
  return { ...made, state: save(made.state), group_info: b64(await publicGroupInfo(made.state, cs)) }
}

export async function join({ seed, welcome, packages }, cs) {
  const { welcome: opened } = message(raw(welcome), 'mls_welcome')
  const wanted = new Set(opened.secrets.map((secret) => hex(secret.newMember)))
  const [ref, held] = Object.entries(packages).find(([name]) => wanted.has(name)) ?? []
  if (ref === undefined) throw new Refused('not_for_us')
  const { keyPackage } = message(raw(held.package), 'mls_key_package')
  const secrets = {
    initPrivateKey: raw(held.init),
    hpkePrivateKey: raw(held.leaf),
    signaturePrivateKey: raw(seed),
  }
  const state = await joinGroup(opened, keyPackage, secrets, emptyPskIndex, cs, undefined, undefined, config)
  return { ref, state: save(state), ...described(state) }
}

// Who sent a private message: from its sender data, under the secret of its epoch. It counts once the message opened,
// since key and signature were then those of this leaf.
async function sender(state, sealed, cs) {
  const epoch = state.groupContext.epoch
  const past = state.historicalReceiverData.get(sealed.epoch)
  const secret = sealed.epoch === epoch ? state.keySchedule.senderDataSecret : past?.senderDataSecret
  const data = secret && (await decryptSenderData(sealed, secret, cs))
  if (!data) throw new Refused('refused')
  return data.leafIndex
}

export async function process({ state, data }, cs) {
  const before = load(raw(state))
  const incoming = message(raw(data), 'mls_public_message', 'mls_private_message')
  let leaf = null
  if (incoming.wireformat === 'mls_private_message') {
    if (hex(incoming.privateMessage.groupId) !== hex(before.groupContext.groupId)) throw new Refused('refused')
    leaf = await sender(before, incoming.privateMessage, cs)
    const own = leaf === before.privatePath.leafIndex && incoming.privateMessage.epoch === before.groupContext.epoch
    if (own) throw new Refused('own_message')
  } else if (incoming.publicMessage.content.contentType !== 'commit') {
    throw new Refused('refused')
  }
  const done = await processMessage(incoming, before, emptyPskIndex, () => 'accept', cs)
  if (done.kind === 'applicationMessage') return { state: save(done.newState), leaf, plaintext: b64(done.message) }
  return { state: save(done.newState), ...described(done.newState) }
}

export async function encrypt({ state, plaintext }, cs) {
  const made = await createApplicationMessage(load(raw(state)), raw(plaintext), cs)
  const sealed = { version: 'mls10', wireformat: 'mls_private_message', privateMessage: made.privateMessage }
  return { state: save(made.newState), message: b64(encodeMlsMessage(sealed)) }
}

const EXTENSIONS = { application_id: 1, ratchet_tree: 2, required_capabilities: 3, external_pub: 4, external_senders: 5 }

export function described(state) {
  const roster = []
  for (const [node, entry] of state.ratchetTree.entries()) {
    if (entry?.nodeType !== 'leaf') continue
    const { credential, signaturePublicKey, leafNodeSource, lifetime } = entry.leaf
    if (credential.credentialType !== 'basic') throw new Refused('state')
    const times = leafNodeSource === 'key_package' ? [`${lifetime.notBefore}`, `${lifetime.notAfter}`] : null
    roster.push({ leaf: node / 2, identity: b64(credential.identity), key: b64(signaturePublicKey), lifetime: times })
  }
  return {
    group_id: b64(state.groupContext.groupId),
    epoch: Number(state.groupContext.epoch),
    confirmation_tag: b64(state.confirmationTag),
    active: state.groupActiveState.kind === 'active',
    own_leaf: state.privatePath.leafIndex,
    roster,
    extensions: state.groupContext.extensions.map(({ extensionType: kind }) => EXTENSIONS[kind] ?? Number(kind)),
  }
}

export async function look({ state }) {
  return described(load(raw(state)))
}

export async function group_info({ state }, cs) {
  return { group_info: b64(await publicGroupInfo(load(raw(state)), cs)) }
}

// What nobody of ours ever does; the tests need it to show that it is refused.
export async function join_external({ seed, group_info }, cs) {
  const { groupInfo } = message(raw(group_info), 'mls_group_info')
  const { publicPackage, privatePackage } = await package_(seed, cs)
  const made = await joinGroupExternal(groupInfo, publicPackage, privatePackage, false, cs, undefined, config)
  const out = { version: 'mls10', wireformat: 'mls_public_message', publicMessage: made.publicMessage }
  return { state: save(made.newState), commit: b64(encodeMlsMessage(out)) }
}

/*
 * Handshake, fallback and consent, with an attacker who holds the link, the relay and the directory.
 *
 * Ann's device has a message for Bob. The two tables are those of letterlock.assurance.handshake.machine and
 * letterlock.assurance.fallback; tests/model runs every pair of state and event through both and compares. Around them
 * one loop lets everybody act in any order: Ann, Bob, a person, the policy, and the attacker, who
 *
 *   - shows Ann of Bob what it likes: the truth, something stripped, or nothing (the directory);
 *   - keeps, repeats, reorders and edits every element of two handshakes (the link and the relay);
 *   - reports failures at any time, and brings a handshake to nothing by silence.
 *
 * It has no session key, so what it edits does not verify. Ghost variables remember what was true; assertions and the
 * claim at the end says what must never be. docs/protocol/handshake.md says what the words mean.
 *
 *   spin -run model.pml               all reachable states: no error
 *   spin -DFLAW_... -run model.pml    one comparison or rule taken out: an error is found
 *
 * Bounds: two handshakes in one conversation, one message. One offer at a time, so neither crossed event is played.
 */
mtype = { S_secure_pending, S_failure_unproven, S_secure_failed, S_held, S_challenged, S_consented,
    S_policy_allowed, S_refused, S_expired, S_withdrawn, S_sent_secure, S_sent_downgraded, S_not_sent };
mtype = { E_secure_sent, E_failure_reported, E_failure_proven, E_hold, E_retry, E_challenge, E_consent,
    E_policy_permits, E_refuse, E_expire, E_withdraw, E_terms_changed, E_submit, E_give_up };
mtype = { H_idle, H_offered, H_answered, H_agreed, H_held, H_aborted };
mtype = { V_offer_sent, V_offer_taken, V_answer_taken, V_finish_taken, V_finish_of_others, V_crossed_kept,
    V_crossed_yielded, V_hold, V_mismatch, V_peer_aborted };
bool ok;

inline fallback_step(s, e) {
    ok = true;
    if
    :: s == S_secure_pending && e == E_secure_sent -> s = S_sent_secure
    :: s == S_secure_pending && e == E_failure_reported -> s = S_failure_unproven
    :: s == S_secure_pending && e == E_failure_proven -> s = S_secure_failed
    :: s == S_secure_pending && e == E_hold -> s = S_held
    :: s == S_secure_pending && e == E_withdraw -> s = S_withdrawn
    :: s == S_secure_pending && e == E_expire -> s = S_expired
    :: s == S_failure_unproven && e == E_hold -> s = S_held
    :: s == S_failure_unproven && e == E_retry -> s = S_secure_pending
    :: s == S_failure_unproven && e == E_failure_proven -> s = S_secure_failed
    :: s == S_failure_unproven && e == E_withdraw -> s = S_withdrawn
    :: s == S_failure_unproven && e == E_expire -> s = S_expired
    :: s == S_failure_unproven && e == E_give_up -> s = S_not_sent
    :: s == S_secure_failed && e == E_hold -> s = S_held
    :: s == S_secure_failed && e == E_retry -> s = S_secure_pending
    :: s == S_secure_failed && e == E_challenge -> s = S_challenged
    :: s == S_secure_failed && e == E_policy_permits -> s = S_policy_allowed
    :: s == S_secure_failed && e == E_withdraw -> s = S_withdrawn
    :: s == S_secure_failed && e == E_expire -> s = S_expired
    :: s == S_secure_failed && e == E_give_up -> s = S_not_sent
    :: s == S_held && e == E_retry -> s = S_secure_pending
    :: s == S_held && e == E_failure_proven -> s = S_secure_failed
    :: s == S_held && e == E_withdraw -> s = S_withdrawn
    :: s == S_held && e == E_expire -> s = S_expired
    :: s == S_held && e == E_give_up -> s = S_not_sent
    :: s == S_challenged && e == E_consent -> s = S_consented
    :: s == S_challenged && e == E_refuse -> s = S_refused
    :: s == S_challenged && e == E_retry -> s = S_secure_pending
    :: s == S_challenged && e == E_terms_changed -> s = S_secure_failed
    :: s == S_challenged && e == E_withdraw -> s = S_withdrawn
    :: s == S_challenged && e == E_expire -> s = S_expired
    :: s == S_consented && e == E_submit -> s = S_sent_downgraded
    :: s == S_consented && e == E_retry -> s = S_secure_pending
    :: s == S_consented && e == E_terms_changed -> s = S_secure_failed
    :: s == S_consented && e == E_withdraw -> s = S_withdrawn
    :: s == S_consented && e == E_expire -> s = S_expired
    :: s == S_policy_allowed && e == E_submit -> s = S_sent_downgraded
    :: s == S_policy_allowed && e == E_retry -> s = S_secure_pending
    :: s == S_policy_allowed && e == E_terms_changed -> s = S_secure_failed
    :: s == S_policy_allowed && e == E_withdraw -> s = S_withdrawn
    :: s == S_policy_allowed && e == E_expire -> s = S_expired
    :: s == S_refused && e == E_hold -> s = S_held
    :: s == S_refused && e == E_give_up -> s = S_not_sent
    :: s == S_expired && e == E_hold -> s = S_held
    :: s == S_expired && e == E_give_up -> s = S_not_sent
    :: s == S_withdrawn && e == E_give_up -> s = S_not_sent
#ifdef FLAW_QUESTION_WITHOUT_PROOF
    :: s == S_failure_unproven && e == E_challenge -> s = S_challenged
#endif
#ifdef FLAW_HELD_BECOMES_A_QUESTION
    :: s == S_held && e == E_challenge -> s = S_challenged
#endif
    :: else -> ok = false
    fi
}

inline handshake_step(s, e) {
    ok = true;
    if
    :: s == H_idle && e == V_offer_sent -> s = H_offered
    :: s == H_idle && e == V_offer_taken -> s = H_answered
    :: s == H_idle && e == V_hold -> s = H_held
    :: s == H_idle && e == V_mismatch -> s = H_aborted
    :: s == H_idle && e == V_peer_aborted -> s = H_aborted
    :: s == H_offered && e == V_offer_sent -> s = H_offered
    :: s == H_offered && e == V_answer_taken -> s = H_agreed
    :: s == H_offered && e == V_crossed_kept -> s = H_offered
    :: s == H_offered && e == V_crossed_yielded -> s = H_answered
    :: s == H_offered && e == V_hold -> s = H_held
    :: s == H_offered && e == V_mismatch -> s = H_aborted
    :: s == H_offered && e == V_peer_aborted -> s = H_aborted
    :: s == H_answered && e == V_offer_taken -> s = H_answered
    :: s == H_answered && e == V_finish_taken -> s = H_agreed
    :: s == H_answered && e == V_finish_of_others -> s = H_answered
    :: s == H_answered && e == V_hold -> s = H_held
    :: s == H_answered && e == V_mismatch -> s = H_aborted
    :: s == H_answered && e == V_peer_aborted -> s = H_aborted
    :: s == H_agreed && e == V_offer_sent -> s = H_offered
    :: s == H_agreed && e == V_offer_taken -> s = H_answered
    :: s == H_agreed && e == V_answer_taken -> s = H_agreed
    :: s == H_agreed && e == V_finish_taken -> s = H_agreed
    :: s == H_agreed && e == V_hold -> s = H_held
    :: s == H_agreed && e == V_mismatch -> s = H_aborted
    :: s == H_agreed && e == V_peer_aborted -> s = H_aborted
    :: s == H_held && e == V_offer_sent -> s = H_offered
    :: s == H_held && e == V_offer_taken -> s = H_answered
    :: s == H_held && e == V_answer_taken -> s = H_agreed
    :: s == H_held && e == V_hold -> s = H_held
    :: s == H_held && e == V_mismatch -> s = H_aborted
    :: s == H_held && e == V_peer_aborted -> s = H_aborted
    :: else -> ok = false
    fi
}

#ifndef TABLES

#define ROUNDS 2

/* What the directory showed Ann of Bob before an offer. */
mtype = { SHOWN_nothing, SHOWN_true, SHOWN_stripped };

/* Truth, chosen once. */
bool bob_has_devices;       /* else his account signed an empty list */
bool policy_allows;         /* a written rule for a proven failure */

/* Everything that was ever sent; the attacker has it all. One offer, one answer, one finish for each round. */
bool offered[ROUNDS], answered[ROUNDS], finished[ROUNDS], refusal_of_ann, refusal_of_bob;
mtype shown[ROUNDS];        /* what Ann saw, as her offer says */
bool weak[ROUNDS];          /* whether she chose less than both can */
byte answers_to[ROUNDS];    /* which offer the answer of a round names */

mtype ann = H_idle, bob = H_idle, message = S_secure_pending;
byte rounds = 0;            /* offers that Ann made */
byte bob_round = 0;         /* of the offer that Bob answered */
bool bob_spent[ROUNDS];     /* offers that he knows again */
byte ann_agreed = ROUNDS, bob_agreed = ROUNDS;
byte sent_under = ROUNDS;   /* the agreement in the message's signed context */
byte edits = 0, reports = 0, retries = 0;

/* Ghosts. */
bool proven = false;        /* an endpoint's signature says that the secure path is not there */
bool answer_lives = false;  /* a consent or a rule, about the situation as it is */
bool answered_once = false; /* a consent, ever */
bool delivered = false;     /* Bob's person has it, encrypted */

inline of_ann(event) { handshake_step(ann, event); assert(ok) }
inline of_bob(event) { handshake_step(bob, event); assert(ok) }
inline tell(event) { fallback_step(message, event) }

/* Ann's own handshake fails: her message waits. */
inline ann_ends(event) {
    of_ann(event);
    tell(E_hold)
}

active proctype World() {
    mtype now_shown;
    byte n, m;
    if
    :: bob_has_devices = true
    :: bob_has_devices = false
    fi;
    if
    :: policy_allows = true
    :: policy_allows = false
    fi;

end:
    do
    /* -- Ann -------------------------------------------------------------------------------------------------- */

    /* She offers what the directory lets her see. Of nothing there is no offer: suppression has no transcript. */
    :: atomic { rounds < ROUNDS && bob_has_devices && (ann == H_idle || ann == H_held || ann == H_offered) ->
        if
        :: now_shown = SHOWN_true
        :: now_shown = SHOWN_stripped
        :: now_shown = SHOWN_nothing
        fi;
        if
        :: now_shown != SHOWN_nothing ->
            shown[rounds] = now_shown;
            weak[rounds] = (now_shown == SHOWN_stripped);
            offered[rounds] = true;
            rounds++;
            of_ann(V_offer_sent)
        :: else -> tell(E_failure_reported)
        fi }
    :: atomic { ann == H_offered -> of_ann(V_hold) }

    /* She sends encrypted only under an agreement. */
    :: atomic { ann == H_agreed && message == S_secure_pending ->
        sent_under = ann_agreed;
        tell(E_secure_sent);
        assert(ok) }

    /* -- Bob -------------------------------------------------------------------------------------------------- */

    /* An offer reaches him, this round's or an old one. */
    :: atomic { bob != H_aborted && (offered[0] || offered[1]) ->
        if
        :: offered[0] -> n = 0
        :: offered[1] -> n = 1
        fi;
        if
        :: bob_spent[n] -> of_bob(V_mismatch); refusal_of_bob = true
#ifndef FLAW_NOBODY_COMPARES_WHAT_WAS_SEEN
        :: !bob_spent[n] && shown[n] == SHOWN_stripped -> of_bob(V_mismatch); refusal_of_bob = true
#endif
        :: else ->
            bob_spent[n] = true;
            bob_round = n;
            answers_to[n] = n;
            answered[n] = true;
            of_bob(V_offer_taken)
        fi }

    /* A finish reaches him. */
    :: atomic { bob != H_aborted && (finished[0] || finished[1]) ->
        if
        :: finished[0] -> n = 0
        :: finished[1] -> n = 1
        fi;
        if
        :: bob == H_answered && bob_round == n -> of_bob(V_finish_taken); bob_agreed = n
        :: else -> of_bob(V_mismatch); refusal_of_bob = true
        fi }

    /* The message reaches him. Its signed context holds the agreement under which it was sealed. */
    :: atomic { message == S_sent_secure && bob == H_agreed && bob_agreed == sent_under && !delivered ->
        delivered = true;
        assert(!weak[bob_agreed]);
        assert(ann_agreed == bob_agreed || ann == H_aborted) }

    /* -- answers and refusals at Ann -------------------------------------------------------------------------- */

    :: atomic { ann != H_aborted && (answered[0] || answered[1]) ->
        if
        :: answered[0] -> n = 0
        :: answered[1] -> n = 1
        fi;
        m = answers_to[n];
        if
        :: (ann == H_offered || ann == H_held) && rounds > 0 && m == rounds - 1 ->
            of_ann(V_answer_taken);
            ann_agreed = m;
            finished[m] = true
        :: !((ann == H_offered || ann == H_held) && rounds > 0 && m == rounds - 1) ->
            ann_ends(V_mismatch);
            refusal_of_ann = true
        fi }
    :: atomic { refusal_of_bob && ann != H_aborted -> ann_ends(V_peer_aborted) }
    :: atomic { refusal_of_ann && bob != H_aborted -> of_bob(V_peer_aborted) }

    /* -- the attacker ----------------------------------------------------------------------------------------- */

    /* It edits an element on its way: the signature does not hold, and both ends will hear of it. */
    :: atomic { edits < 1 && bob != H_aborted && (offered[0] || finished[0]) ->
        edits++;
#ifdef FLAW_SIGNATURES_ARE_NOT_CHECKED
        if
        :: bob_round = 0; weak[0] = true; answered[0] = true; answers_to[0] = 0; bob_spent[0] = true; bob = H_answered
        :: skip
        fi
#else
        of_bob(V_mismatch);
        refusal_of_bob = true
#endif
        }
    :: atomic { edits < 1 && ann != H_aborted && (answered[0] || answered[1]) ->
        edits++;
        ann_ends(V_mismatch);
        refusal_of_ann = true }

    /* It says that sending failed, whenever it likes. */
    :: atomic { reports < 2 -> reports++; tell(E_failure_reported) }

    /* -- the fallback ----------------------------------------------------------------------------------------- */

    /* Proof is a signature of Bob's account: an empty list. The relay can bring it, and cannot make it. */
    :: atomic { !bob_has_devices ->
        tell(E_failure_proven);
        proven = (ok -> true : proven) }
    :: atomic { tell(E_hold) }
    :: atomic { retries < 2 ->
        tell(E_retry);
        if
        :: ok -> retries++; proven = false; answer_lives = false
        :: else
        fi }
    :: atomic { message == S_secure_failed || message == S_held || message == S_failure_unproven ->
        tell(E_challenge) }
    :: atomic { message == S_secure_failed && policy_allows ->
        tell(E_policy_permits);
        answer_lives = true }
    :: atomic { message == S_challenged ->
        if
        :: tell(E_consent); answer_lives = true; answered_once = true
        :: tell(E_refuse)
        :: tell(E_expire)
        fi }
    :: atomic { answer_lives ->
        tell(E_terms_changed);
        answer_lives = (ok -> false : answer_lives) }
    :: atomic { answer_lives ->
        if
        :: tell(E_withdraw)
        :: tell(E_expire)
        fi;
        answer_lives = (ok -> false : answer_lives) }

    /* The one step by which a message leaves on a lesser path. */
    :: atomic { message == S_consented || message == S_policy_allowed ->
        assert(answer_lives);
        assert(proven);
        tell(E_submit);
        assert(ok) }
#ifdef FLAW_AN_ANSWER_OUTLIVES_ITS_CAUSE
    :: atomic { message == S_secure_pending && answered_once -> message = S_sent_downgraded }
#endif
#ifdef FLAW_A_SILENT_STEP_DOWN
    :: atomic { message == S_held -> message = S_sent_downgraded }
#endif
    :: atomic { tell(E_give_up) }
    od
}

/* What must never be. No silent step down: whatever the attacker does, a peer with devices is never written to on a
   lesser path, and nobody is even asked; what left on a lesser path had a live answer, about a proven failure; and
   what is delivered was agreed on in full. */
#define LESSER (message == S_consented || message == S_policy_allowed || message == S_sent_downgraded)
#define FOR_A_PEER_WITH_DEVICES (bob_has_devices && (message == S_challenged || LESSER))
#define WITHOUT_A_WORD (message == S_sent_downgraded && !(answer_lives && proven))
#define WEAKENED (delivered && weak[bob_agreed])
ltl no_silent_step_down { [] !(FOR_A_PEER_WITH_DEVICES || WITHOUT_A_WORD || WEAKENED) }
#endif

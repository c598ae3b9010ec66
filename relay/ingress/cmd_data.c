/*
 * DATA and BDAT (RFC 5321 4.1.1.4, RFC 3030): takes the text in and gives the one answer for the message.
 * What the text becomes is body.c's. A text that is refused is still read to its end, so that no part of it
 * is ever taken for a command.
 */
#include <stdio.h>

#include "lib/base/crashpoint.h"
#include "lib/base/id.h"
#include "relay/ingress/inbound_private.h"

enum { TAKE_MOST = 64 * 1024 }; /* at once: so a held text is at most this over INBOUND_CHUNK_BYTES */

static bool space_for_data(struct inbound *s)
{
    if (s->env->admit(s->arg) == ADMIT_OK)
        return true;
    (void)inbound_refuse(s, REASON_SPACE, 452, SMTP_ENHANCED(4, 3, 1), "Too busy: try again later");
    return false;
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static void answer_refusal(struct inbound *s)
{
    struct refusal r = s->tx->refusal;
    (void)inbound_refuse(s, r.reason, r.code, r.enhanced, r.text);
    inbound_reset(s);
}

static void answer_accepted(struct inbound *s, struct transaction *tx)
{
    static const char start[] = "250 2.0.0 queued as ";
    char line[sizeof(start) - 1 + MSGID_TEXT + 2 + 1];
    struct msgid id;
    memcpy(id.bytes, tx->message->record->id.data, MSGID_BYTES);
    memcpy(line, start, sizeof(start) - 1);
    (void)msgid_text(&id, line + sizeof(start) - 1);
    memcpy(line + sizeof(start) - 1 + MSGID_TEXT, "\r\n", 2);
    tx->counted = false; /* for good: it is not given back */
    s->errors = 0;
    if (!tx->feedback)
        s->env->accepted(s->arg,
                         &(struct inbound_accepted){.tenant = s->tenant,
                                                    .bytes = tx->data.bytes,
                                                    .recipients = tx->n_recipients,
                                                    .waited_us = inbound_now_us(s) - tx->finished_us});
    (void)inbound_reply_raw(s, span_of(line, sizeof(line) - 1));
    inbound_reset(s);
}

static void refuse_log(struct transaction *tx, int status)
{
    if (status == RM_EFULL)
        inbound_tx_refuse(tx, REASON_SPACE, 452, SMTP_ENHANCED(4, 3, 1),
                          "Insufficient storage: try again later");
    else
        inbound_tx_refuse(tx, REASON_LOG, 451, SMTP_ENHANCED(4, 3, 0),
                          "The message could not be stored: try again later");
}

static void advance(struct inbound *s)
{
    struct transaction *tx = s->tx;
    if (!tx->refusal.code)
        inbound_body_advance(s, tx);
    if (tx->refusal.code) {
        s->wait = WAIT_NONE;
        answer_refusal(s);
    }
}

/* A chunk has arrived in the log, or failed to. */
static void chunk_appended(struct inbound *s, struct transaction *tx, int status)
{
    if (status != RM_OK)
        refuse_log(tx, status);
    else
        CRASH_POINT(CHUNK_DURABLE);
    if (s->wait != WAIT_CHUNKS)
        return;
    if (tx->finishing) {
        if (tx->in_flight == 0 || tx->refusal.code)
            advance(s);
        return;
    }
    s->wait = WAIT_NONE;
    s->progress_us = inbound_now_us(s);
    inbound_body_flush(s, tx);
}

void cmd_data_appended(struct inbound *s, bool record, int status)
{
    struct transaction *tx = s->tx;
    if (!record) {
        chunk_appended(s, tx, status);
        return;
    }
    s->wait = WAIT_NONE;
    if (status == RM_OK) {
        CRASH_POINT(RECORD_DURABLE);
        answer_accepted(s, tx);
        return;
    }
    refuse_log(tx, status);
    answer_refusal(s);
}

void cmd_data_append_timeout(struct inbound *s)
{
    struct transaction *tx = s->tx;
    refuse_log(tx, RM_ETIMEDOUT);
    s->wait = WAIT_NONE;
    s->progress_us = inbound_now_us(s);
    if (tx->finishing)
        answer_refusal(s);
}

/* ---- DATA ---------------------------------------------------------------------------------------- */

enum cmd_result cmd_data(struct inbound *s, struct span args)
{
    (void)args;
    if (s->state == STATE_BDAT)
        return inbound_refuse(s, REASON_SEQUENCE, 503, SMTP_ENHANCED(5, 5, 1), "DATA cannot follow BDAT");
    if (s->state == STATE_MAIL)
        return inbound_refuse(s, REASON_SEQUENCE, 554, SMTP_ENHANCED(5, 5, 1), "No valid recipients");
    if (s->state != STATE_RCPT)
        return inbound_refuse(s, REASON_SEQUENCE, 503, SMTP_ENHANCED(5, 5, 1), "Need MAIL and RCPT first");
    if (!space_for_data(s))
        return CMD_FAILED;
    inbound_body_begin(s, s->tx);
    s->state = STATE_DATA;
    return inbound_reply_raw(s, SPAN_LIT("354 End data with <CR><LF>.<CR><LF>\r\n"));
}

/* All of the text is there. */
static void finish(struct inbound *s)
{
    struct transaction *tx = s->tx;
    tx->finishing = true;
    tx->finished_us = inbound_now_us(s);
    inbound_body_judge(s, tx);
    advance(s);
}

static size_t feed_data(struct inbound *s, struct span in)
{
    size_t used = 0;
    if (smtp_data_feed(&s->tx->data, in, &used) == SMTP_DATA_END)
        finish(s);
    else
        inbound_body_flush(s, s->tx);
    return used;
}

/* ---- BDAT ---------------------------------------------------------------------------------------- */

static void end_chunk(struct inbound *s)
{
    struct transaction *tx = s->tx;
    if (tx->last_chunk) {
        finish(s);
        return;
    }
    inbound_body_judge(s, tx);
    if (tx->refusal.code) {
        answer_refusal(s);
        return;
    }
    char text[64];
    (void)snprintf(text, sizeof(text), "%llu octets received", (unsigned long long)tx->chunk_bytes);
    (void)inbound_reply(s, 250, SMTP_ENHANCED(2, 0, 0), text);
    s->state = STATE_BDAT;
    inbound_body_flush(s, tx);
}

static size_t feed_chunk(struct inbound *s, struct span in)
{
    size_t used = 0;
    if (smtp_data_feed_chunk(&s->tx->data, in, &used) == SMTP_DATA_END)
        end_chunk(s);
    else
        inbound_body_flush(s, s->tx);
    return used;
}

/* The answer to a chunk that was skipped. The transaction goes with it (RFC 3030 2): a later chunk that was
 * pipelined behind this one must not pass for the whole message. */
static void answer_skipped(struct inbound *s)
{
    if (s->listener->require_tls && !s->tls_version)
        (void)inbound_refuse(s, REASON_TLS_REQUIRED, 530, SMTP_ENHANCED(5, 7, 0),
                             "Must issue a STARTTLS command first");
    else if (!s->tx)
        (void)inbound_refuse(s, REASON_SEQUENCE, 503, SMTP_ENHANCED(5, 5, 1), "Need MAIL and RCPT first");
    else if (!s->tx->n_recipients)
        (void)inbound_refuse(s, REASON_SEQUENCE, 554, SMTP_ENHANCED(5, 5, 1), "No valid recipients");
    else {
        s->put_off = true;
        (void)inbound_refuse(s, REASON_SPACE, 452, SMTP_ENHANCED(4, 3, 1), "Too busy: try again later");
    }
    inbound_reset(s);
}

static size_t feed_skip(struct inbound *s, struct span in)
{
    size_t used = in.len < s->skip_bytes ? in.len : (size_t)s->skip_bytes;
    s->skip_bytes -= used;
    if (s->skip_bytes == 0)
        answer_skipped(s);
    return used;
}

/* A chunk that cannot be taken: its octets are on their way already and must not be read as commands. */
static enum cmd_result skip_chunk(struct inbound *s, uint64_t size)
{
    s->state = STATE_SKIP;
    s->skip_bytes = size;
    s->data_us = inbound_now_us(s);
    if (size == 0)
        answer_skipped(s);
    return CMD_FAILED;
}

enum cmd_result cmd_bdat(struct inbound *s, struct span args)
{
    struct smtp_bdat bdat;
    enum smtp_fault fault = smtp_bdat_parse(args, &bdat);
    if (fault) { /* where the chunk ends is unknown: nothing behind it can be trusted */
        (void)inbound_refuse_fault(s, REASON_SYNTAX, fault);
        inbound_close(s);
        return CMD_FAILED;
    }
    bool begins = s->state == STATE_RCPT;
    bool plain = s->listener->require_tls && !s->tls_version;
    if (plain || (!begins && s->state != STATE_BDAT))
        return skip_chunk(s, bdat.size);
    if (begins && s->env->admit(s->arg) != ADMIT_OK)
        return skip_chunk(s, bdat.size);
    if (begins)
        inbound_body_begin(s, s->tx);
    s->state = STATE_CHUNK;
    s->tx->chunk_bytes = bdat.size;
    s->tx->last_chunk = bdat.last;
    smtp_data_chunk(&s->tx->data, bdat.size, bdat.last);
    if (bdat.size == 0) {
        size_t used = 0;
        if (smtp_data_feed_chunk(&s->tx->data, span_of("", 0), &used) == SMTP_DATA_END)
            end_chunk(s);
    }
    return s->wait == WAIT_NONE ? CMD_DONE : CMD_PENDING;
}

/* ---- both ---------------------------------------------------------------------------------------- */

size_t cmd_data_feed(struct inbound *s, struct span in)
{
    s->progress_us = inbound_now_us(s);
    if (in.len > TAKE_MOST)
        in.len = TAKE_MOST;
    switch (s->state) {
    case STATE_DATA:
        return feed_data(s, in);
    case STATE_CHUNK:
        return feed_chunk(s, in);
    default:
        return feed_skip(s, in);
    }
}

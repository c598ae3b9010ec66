/*
 * The text of a message on its way to the log. A text of at most INBOUND_CHUNK_BYTES is held and goes behind
 * its record in one append. A larger one, or one of a slow sender, streams ahead in chunk records of the
 * partition that the record will go to; the record, appended when all their offsets are known, lists them.
 *
 * The bytes received are stored as they came; what Remuda adds (Received, Message-ID, Date) is the record's
 * prefix.
 */
#include <stdlib.h>

#include "lib/base/crashpoint.h"
#include "lib/base/id.h"
#include "lib/mail/date.h"
#include "lib/mail/received.h"
#include "queue/log.h"
#include "relay/ingress/inbound_private.h"

enum {
    HELD_FIRST = 4 * 1024,
    SCAN_MOST = 256 * 1024,
    SLOW_SCAN_BYTES = 256 * 1024, /* a slow sender's header section is waited for up to this */
    TRIM_SLACK = 4096,
};

/* ---- receiving ----------------------------------------------------------------------------------- */

/* A SIZE is believed only as far as it costs nothing: memory for a large text comes with the text. What comes
 * first is often all there is. */
static size_t held_capacity(const struct transaction *tx, size_t need)
{
    size_t cap = tx->held ? tx->held->cap : need > HELD_FIRST ? need : HELD_FIRST;
    if (!tx->held && tx->size && tx->size <= INBOUND_SLOW_CHUNK_BYTES)
        cap = (size_t)tx->size + 64;
    while (cap < need)
        cap *= 2;
    return cap;
}

static void take_run(void *arg, struct span run)
{
    struct transaction *tx = arg;
    if (tx->refusal.code)
        return;
    size_t have = tx->held ? tx->held->len : 0;
    if (tx->feedback && have >= INBOUND_FEEDBACK_BYTES)
        return;
    if (!tx->held)
        tx->held = blob_new(held_capacity(tx, run.len));
    else if (have + run.len > tx->held->cap)
        tx->held = blob_grow(tx->held, held_capacity(tx, have + run.len));
    memcpy(tx->held->data + have, run.ptr, run.len);
    tx->held->len = have + run.len;
}

void inbound_body_begin(struct inbound *s, struct transaction *tx)
{
    Remuda__Record *r = tx->message->record;
    const struct settings_listener *l = s->listener;
    tx->data_begun = true;
    s->data_us = inbound_now_us(s);
    tx->wall_ms = s->env->wall_ms(s->arg);
    struct msgid id = s->env->make_id(s->arg, tx->wall_ms);
    r->id.data = arena_alloc(&tx->message->arena, MSGID_BYTES);
    r->id.len = MSGID_BYTES;
    memcpy(r->id.data, id.bytes, MSGID_BYTES);
    struct smtp_data_options options = {
        .bare = l->bare_newline == BARE_NORMALISE ? SMTP_BARE_NORMALISE : SMTP_BARE_REFUSE,
        .line_most = l->line_bytes,
        .size_most = inbound_size_most(s),
    };
    smtp_data_init(&tx->data, &options, take_run, tx);
}

/* ---- judging ------------------------------------------------------------------------------------- */

void inbound_body_judge(struct inbound *s, struct transaction *tx)
{
    unsigned faults = tx->data.faults;
    if (faults & (SMTP_DATA_BARE_CR | SMTP_DATA_BARE_LF))
        inbound_tx_refuse(tx, REASON_BARE_NEWLINE, 550, SMTP_ENHANCED(5, 6, 11),
                          "Bare CR or LF in the message: lines must end in CR LF");
    else if (faults & SMTP_DATA_LINE_LONG)
        inbound_tx_refuse(tx, REASON_LINE, 554, SMTP_ENHANCED(5, 6, 0), "A line of the message is too long");
    else if (faults & SMTP_DATA_TOO_BIG)
        inbound_tx_refuse(
            tx, REASON_SIZE, 552, SMTP_ENHANCED(5, 3, 4),
            arena_printf(&tx->message->arena, "Limit size (%llu bytes) exceeded: the message has %llu",
                         (unsigned long long)inbound_size_most(s), (unsigned long long)tx->data.bytes));
    else if (tx->data.nul) /* last: looked for only while there is no fault */
        inbound_tx_refuse(tx, REASON_NUL, 550, SMTP_ENHANCED(5, 6, 11), "NUL octets in the message");
}

static Remuda__Acceptance *acceptance_of(struct transaction *tx)
{
    Remuda__Record *r = tx->message->record;
    if (!r->acceptance) {
        r->acceptance = arena_alloc(&tx->message->arena, sizeof(*r->acceptance));
        remuda__acceptance__init(r->acceptance);
    }
    return r->acceptance;
}

/* Looks at the header section once, in the first bytes that are held. */
static void scan_header(struct inbound *s, struct transaction *tx)
{
    if (tx->scanned)
        return;
    tx->scanned = true;
    struct span text = blob_span(tx->held);
    struct mail_header_info info;
    if (text.len > SCAN_MOST)
        text.len = SCAN_MOST;
    mail_header_scan(text, &info);
    tx->add_message_id = !info.message_id.ptr;
    tx->add_date = !info.date.ptr;
    tx->add_blank = info.fields == 0 && text.len && text.ptr[0] != '\r';
    if (info.message_id.ptr)
        acceptance_of(tx)->header_message_id = arena_dup_span(&tx->message->arena, info.message_id);
    if (info.received > s->settings->hops)
        inbound_tx_refuse(tx, REASON_LOOP, 554, SMTP_ENHANCED(5, 4, 6), "Mail loop: too many hops");
}

/* ---- chunks -------------------------------------------------------------------------------------- */

static void refuse_lane(struct transaction *tx)
{
    inbound_tx_refuse(tx, REASON_LOG, 451, SMTP_ENHANCED(4, 3, 0),
                      "No route for this message: try again later");
}

static void send_chunk(struct inbound *s, struct transaction *tx)
{
    struct blob *body = tx->held;
    tx->held = NULL;
    ENSURE(body);
    if (tx->n_chunks == tx->cap_chunks) {
        tx->cap_chunks = tx->cap_chunks ? tx->cap_chunks * 2 : 8;
        tx->chunks = realloc(tx->chunks, tx->cap_chunks * sizeof(*tx->chunks));
        ENSURE(tx->chunks);
    }
    Remuda__ChunkHeader header = REMUDA__CHUNK_HEADER__INIT;
    header.id = tx->message->record->id;
    header.sequence = tx->n_chunks;
    header.started_ms = tx->wall_ms;
    struct buf *head = s->env->scratch(s->arg);
    buf_clear(head);
    mail_frame_chunk(head, &header);
    uint32_t number = tx->n_chunks++;
    tx->chunks[number] = (struct tx_chunk){.bytes = (uint32_t)body->len};
    tx->in_flight++;
    s->env->append(s->arg, &(struct inbound_value){.kind = INBOUND_APPEND_CHUNK,
                                                   .partition = (uint32_t)tx->partition,
                                                   .head = buf_span(head),
                                                   .body = body,
                                                   .token = inbound_tx_token(s, number)});
    blob_unref(body);
}

/* A slow sender's text goes early, but not before its header section has been seen. */
static bool slow_enough(struct inbound *s, const struct transaction *tx)
{
    if (tx->held->len < INBOUND_SLOW_CHUNK_BYTES ||
        inbound_now_us(s) - s->data_us < (uint64_t)INBOUND_SLOW_MS * 1000)
        return false;
    if (tx->scanned || tx->held->len >= SLOW_SCAN_BYTES)
        return true;
    struct mail_header_info info;
    mail_header_scan(blob_span(tx->held), &info);
    return info.complete;
}

uint64_t inbound_body_due_us(const struct inbound *s)
{
    const struct transaction *tx = s->tx;
    return tx && tx->held && !tx->stall_seen ? s->data_us + (uint64_t)INBOUND_SLOW_MS * 1000 : UINT64_MAX;
}

void inbound_body_stalled(struct inbound *s)
{
    s->tx->stall_seen = true; /* from now on each arrival looks by itself */
    inbound_body_flush(s, s->tx);
}

void inbound_body_flush(struct inbound *s, struct transaction *tx)
{
    if (!tx->held || tx->refusal.code)
        return;
    if (s->env->crowded(s->arg)) {
        inbound_tx_refuse(tx, REASON_SPACE, 452, SMTP_ENHANCED(4, 3, 1), "Too busy: try again later");
        return;
    }
    if (tx->data.faults ||
        tx->data.nul) { /* it will be refused, at its end: its text is not needed any more */
        blob_unref(tx->held);
        tx->held = NULL;
        return;
    }
    if (tx->feedback || (tx->held->len < INBOUND_CHUNK_BYTES && !slow_enough(s, tx)))
        return;
    if (tx->in_flight >= INBOUND_CHUNKS_IN_FLIGHT) {
        inbound_wait(s, WAIT_CHUNKS, INBOUND_APPEND_MS);
        return;
    }
    scan_header(s, tx);
    if (tx->refusal.code)
        return;
    if (inbound_tx_place(s, tx))
        send_chunk(s, tx);
    else
        refuse_lane(tx);
}

/* ---- the record ---------------------------------------------------------------------------------- */

static void make_prefix(struct inbound *s, struct transaction *tx)
{
    char id[MSGID_TEXT + 1], date[MAIL_DATE_BUF];
    struct msgid bytes;
    Remuda__Record *r = tx->message->record;
    memcpy(bytes.bytes, r->id.data, MSGID_BYTES);
    struct mail_received received = {
        .helo = s->helo,
        .client_address = s->client,
        .by = s->listener->hostname,
        .id = msgid_text(&bytes, id),
        .rcpt = tx->n_recipients == 1 ? tx->groups[0].submission->recipients[0]->address : NULL,
        .tls_version = s->tls_version,
        .tls_cipher = s->tls_cipher,
        .esmtp = s->esmtp,
        .authenticated = s->authenticated,
        .smtputf8 = r->smtputf8,
        .wall_ms = tx->wall_ms,
    };
    struct buf *out = s->env->scratch(s->arg);
    buf_clear(out);
    mail_received_add(out, &received);
    if (tx->add_message_id) {
        buf_add_str(out, "Message-ID: <");
        buf_add(out, id, MSGID_TEXT);
        buf_add_char(out, '@');
        buf_add_str(out, s->listener->hostname);
        buf_add_str(out, ">\r\n");
    }
    if (tx->add_date) {
        buf_add_str(out, "Date: ");
        buf_add_str(out, mail_date_format(tx->wall_ms, date));
        buf_add_str(out, "\r\n");
    }
    if (tx->add_blank)
        buf_add_str(out, "\r\n");
    r->prefix.len = out->len;
    r->prefix.data = (uint8_t *)arena_dup_span(&tx->message->arena, buf_span(out));
}

static void fill_acceptance(struct inbound *s, struct transaction *tx)
{
    struct arena *a = &tx->message->arena;
    Remuda__Acceptance *acc = acceptance_of(tx);
    acc->client_address = arena_strdup(a, s->client);
    acc->helo = arena_strdup(a, s->helo ? s->helo : "");
    acc->listener = arena_strdup(a, s->listener->address);
    if (s->user)
        acc->user = arena_strdup(a, s->user);
    if (s->tls_version)
        acc->tls = arena_printf(a, "%s %s", s->tls_version, s->tls_cipher ? s->tls_cipher : "");
}

static void fill_record(struct inbound *s, struct transaction *tx)
{
    Remuda__Record *r = tx->message->record;
    if (r->acceptance && r->acceptance->listener[0])
        return; /* done before its text had to be cut off */
    int tenant = tx->feedback ? tx->feedback->tenant : s->tenant;
    r->tenant = arena_strdup(&tx->message->arena, s->settings->tenants[tenant].name);
    r->accepted_ms = s->env->wall_ms(s->arg);
    r->body_bytes = tx->feedback ? (tx->held ? tx->held->len : 0) : tx->data.bytes;
    if (tx->feedback)
        r->kind = REMUDA__RECORD_KIND__RECORD_FEEDBACK;
    r->eight_bit = tx->data.eight_bit; /* not what BODY= says: many clients always say 8BITMIME */
    fill_acceptance(s, tx);
    make_prefix(s, tx);
}

static void fill_chunks(struct transaction *tx)
{
    Remuda__Record *r = tx->message->record;
    struct arena *a = &tx->message->arena;
    Remuda__Chunk *all = arena_alloc(a, tx->n_chunks * sizeof(*all));
    r->chunks = arena_alloc(a, tx->n_chunks * sizeof(Remuda__Chunk *));
    r->n_chunks = tx->n_chunks;
    for (uint32_t i = 0; i < tx->n_chunks; i++) {
        remuda__chunk__init(&all[i]);
        all[i].offset = tx->chunks[i].offset;
        all[i].bytes = tx->chunks[i].bytes;
        r->chunks[i] = &all[i];
    }
}

/* Small texts do not keep a large blob alive while they wait for delivery. */
static struct blob *take_trimmed(struct transaction *tx)
{
    struct blob *b = tx->held ? tx->held : blob_new(0);
    tx->held = NULL;
    if (b->cap - b->len <= TRIM_SLACK || b->cap - b->len <= b->len / 2)
        return b;
    struct blob *fit = blob_of(b->data, b->len);
    blob_unref(b);
    return fit;
}

static void send_record(struct inbound *s, struct transaction *tx, const struct buf *head)
{
    inbound_wait(s, WAIT_RECORD, INBOUND_APPEND_MS);
    s->env->append(s->arg, &(struct inbound_value){.kind = INBOUND_APPEND_RECORD,
                                                   .partition = (uint32_t)tx->partition,
                                                   .head = buf_span(head),
                                                   .body = tx->message->body,
                                                   .message = tx->message,
                                                   .token = inbound_tx_token(s, UINT32_MAX)});
}

/* Frames the record. False: with its text it would be too large for one value. */
static bool frame_record(struct transaction *tx, struct buf *head)
{
    buf_clear(head);
    mail_frame_record(head, tx->message->record);
    return head->len + (tx->n_chunks || !tx->held ? 0 : tx->held->len) <= LOG_VALUE_MOST;
}

static bool too_old(struct inbound *s, const struct transaction *tx)
{
    return tx->n_chunks && inbound_now_us(s) - s->data_us > (uint64_t)INBOUND_CHUNK_AGE_MS * 1000;
}

static void append_record(struct inbound *s, struct transaction *tx)
{
    if (too_old(s, tx)) {
        inbound_tx_refuse(tx, REASON_TIMEOUT, 451, SMTP_ENHANCED(4, 3, 0),
                          "The message took too long: try again");
        return;
    }
    fill_record(s, tx);
    if (tx->n_chunks)
        fill_chunks(tx);
    struct buf *head = s->env->scratch(s->arg);
    if (!frame_record(tx, head)) {
        send_chunk(s, tx);
        inbound_wait(s, WAIT_CHUNKS, INBOUND_APPEND_MS);
        return;
    }
    if (!tx->n_chunks)
        tx->message->body = take_trimmed(tx);
    else
        CRASH_POINT(RECORD_BEFORE);
    send_record(s, tx, head);
}

void inbound_body_advance(struct inbound *s, struct transaction *tx)
{
    scan_header(s, tx);
    if (tx->refusal.code || (tx->feedback && !cmd_feedback_settle(s, tx)))
        return;
    if (!inbound_tx_place(s, tx)) {
        refuse_lane(tx);
        return;
    }
    if (tx->n_chunks && tx->held)
        send_chunk(s, tx);
    if (tx->in_flight)
        inbound_wait(s, WAIT_CHUNKS, INBOUND_APPEND_MS);
    else
        append_record(s, tx);
}

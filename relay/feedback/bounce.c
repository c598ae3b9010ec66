/* Building and gathering of reports. What is reported, and when, is decided in relay/delivery/settle.c. */
#include "relay/feedback/bounce.h"

#include "relay/feedback/post.h"

enum { RETURNED_MOST = 64 * 1024 }; /* bytes of the original in a report; a larger one returns its header */

static enum mail_dsn_action reported(enum mail_dsn_action a)
{
    return a == MAIL_DSN_EXPIRED ? MAIL_DSN_FAILED : a; /* for the sender it is one thing */
}

/* The same cause gives the same id, however often and by whom it is made: of a recipient is reported once
 * that it failed, once that it is late. Another attempt after a crash is no other cause; addresses stand for
 * the recipients because a transfer numbers them anew. */
static struct msgid report_id(const struct bounce_cause *c)
{
    struct buf key = BUF_INIT;
    buf_printf(&key, "%d %u %lu %u", (int)c->kind, c->submission.partition,
               (unsigned long)c->submission.offset, c->submission.index);
    for (size_t i = 0; i < c->n_recipients; i++)
        buf_printf(&key, " %d <%s>", (int)reported(c->recipients[i].action), c->recipients[i].address);
    buf_add_char(&key, ' ');
    buf_add(&key, c->message->record->id.data, c->message->record->id.len);
    struct msgid id = msgid_derive(c->message->record->accepted_ms, buf_span(&key));
    buf_fini(&key);
    return id;
}

/* Prefix and the beginning of the body, as much as a report may return. True when it is all of the message.
 */
static bool read_original(const struct bounce_cause *c, struct buf *out)
{
    const Remuda__Record *record = c->message->record;
    buf_add(out, record->prefix.data, record->prefix.len);
    struct body_reader r;
    struct span piece;
    bool whole = false;
    body_read_begin(&r, &c->body);
    while (body_read_next(&r, &piece) == RM_OK) {
        whole = piece.ptr == NULL;
        if (whole || out->len >= RETURNED_MOST)
            break;
        size_t room = RETURNED_MOST - out->len;
        buf_add(out, piece.ptr, piece.len < room ? piece.len : room);
        if (piece.len > room)
            break;
    }
    body_read_end(&r);
    return whole;
}

static struct mail_dsn_made write_report(const struct bounce_cause *c, const struct msgid *id,
                                         struct buf *out)
{
    const Remuda__Record *record = c->message->record;
    const struct settings *settings = c->shard->settings;
    char text[MSGID_TEXT + 1], original_text[MSGID_TEXT + 1];
    struct msgid original_id;
    memcpy(original_id.bytes, record->id.data, MSGID_BYTES);
    struct buf original = BUF_INIT;
    bool whole = read_original(c, &original);
    struct mail_dsn d = {
        .id = msgid_text(id, text),
        .reporting_mta = settings->hostname,
        .to = record->sender,
        .original_id = msgid_text(&original_id, original_text),
        .envid = record->envid,
        .arrival_ms = record->accepted_ms,
        .now_ms = c->now_ms,
        .recipients = c->recipients,
        .n_recipients = c->n_recipients,
        .original = buf_span(&original),
        .original_whole = whole,
        .full = record->ret == REMUDA__DSN_RET__RET_FULL,
        .smtputf8 = record->smtputf8,
    };
    struct mail_dsn_made made = mail_dsn_write(out, &d);
    buf_fini(&original);
    return made;
}

static struct post post_of(const struct bounce_cause *c)
{
    const Remuda__Record *record = c->message->record;
    return (struct post){.shard = c->shard,
                         .partition = c->partition,
                         .cause = c->submission,
                         .kind = c->kind,
                         .bound = c->bound,
                         .tenant = record->tenant,
                         .pool = record->submissions[0]->pool,
                         .to = record->sender,
                         .now_ms = c->now_ms};
}

bool bounce_can(const struct bounce_cause *c)
{
    struct post p = post_of(c);
    return c->message->record->kind == REMUDA__RECORD_KIND__RECORD_MESSAGE && post_can(&p);
}

bool bounce_make(const struct bounce_cause *c, struct msgid *id)
{
    if (!bounce_can(c))
        return false;
    struct post p = post_of(c);
    *id = report_id(c);
    p.id = id;
    struct buf text = BUF_INIT;
    struct mail_dsn_made made = write_report(c, id, &text);
    p.body = blob_of(text.data, text.len);
    p.eight_bit = made.eight_bit;
    p.smtputf8 = made.smtputf8;
    buf_fini(&text);
    return post_send(&p);
}

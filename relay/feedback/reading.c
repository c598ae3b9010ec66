/* Reading on a worker's thread: the body from the log, the submission from the history. */
#include "relay/feedback/reading.h"

#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"

enum {
    YOUNG_MS = 60 * 1000, /* a message that left a moment ago: its events may be on their way */
    TRIES = 4,
    TRY_US = 250 * 1000,
    CATCH_UP_MS = 1000,
    RECIPIENTS_MOST = 100,
};

static void read_text(const struct body_source *body, struct reading *out)
{
    struct body_reader r;
    struct span piece;
    body_read_begin(&r, body);
    while ((out->status = body_read_next(&r, &piece)) == RM_OK && piece.ptr)
        buf_add_span(&out->text, piece);
    body_read_end(&r);
}

static bool is_about(const Remuda__Event *e, const struct token_claims *about)
{
    return e->submission && memcmp(e->message_id.data, about->message.bytes, MSGID_BYTES) == 0 &&
           e->submission->partition == about->submission.partition &&
           e->submission->offset == about->submission.offset &&
           e->submission->index == about->submission.index;
}

static bool has_recipient(const struct reading *r, const char *address)
{
    for (size_t i = 0; i < r->n_recipients; i++)
        if (strcmp(r->recipients[i], address) == 0)
            return true;
    return false;
}

/* Events of feedback come from reports: they prove nothing of what was sent. */
static bool is_of_sending(const Remuda__Event *e)
{
    return e->type != REMUDA__EVENT_TYPE__EVENT_LATE_BOUNCE && e->type != REMUDA__EVENT_TYPE__EVENT_COMPLAINT;
}

static void take_event(struct reading *r, const Remuda__Event *e)
{
    r->known = true;
    if (!r->sender[0])
        r->sender = arena_strdup(&r->arena, e->sender);
    for (size_t i = 0; i < e->n_recipients && r->n_recipients < RECIPIENTS_MOST; i++)
        if (!has_recipient(r, e->recipients[i]->address))
            r->recipients[r->n_recipients++] = arena_strdup(&r->arena, e->recipients[i]->address);
}

static void look_up(struct history *h, const struct token_claims *about, struct reading *out)
{
    struct history_events found;
    history_events_init(&found);
    if (history_trace(h, &about->message, &found) == RM_OK)
        for (size_t i = 0; i < found.n; i++)
            if (is_about(found.list[i].event, about) && is_of_sending(found.list[i].event))
                take_event(out, found.list[i].event);
    history_events_fini(&found);
}

static void find_submission(struct history *h, const struct token_claims *about, struct reading *out)
{
    uint64_t sent = msgid_ms(&about->message);
    for (int i = 0; i < TRIES && !out->known; i++) {
        if (i > 0 && clock_wall_ms() > sent + YOUNG_MS)
            return;
        if (i > 0)
            (void)usleep(TRY_US);
        (void)history_catch_up(h, CATCH_UP_MS);
        look_up(h, about, out);
    }
}

void reading_make(const struct body_source *body, struct history *history, const struct token_claims *about,
                  struct reading *out)
{
    *out = (struct reading){.arena = ARENA_INIT, .text = BUF_INIT};
    out->sender = arena_strdup(&out->arena, "");
    out->recipients = arena_alloc(&out->arena, RECIPIENTS_MOST * sizeof(*out->recipients));
    read_text(body, out);
    if (out->status != RM_OK)
        return;
    mail_report_read(&out->arena, buf_span(&out->text), &out->report);
    if (history)
        find_submission(history, about, out);
    if (history && history_waits(history))
        out->status = RM_EAGAIN; /* also when something was found: a recipient may be among what is to come */
}

void reading_fini(struct reading *r)
{
    buf_fini(&r->text);
    arena_fini(&r->arena);
}

static const char *same_recipient(const struct reading *r, const char *address)
{
    for (size_t i = 0; address[0] && i < r->n_recipients; i++)
        if (span_ieq(span_str(r->recipients[i]), span_str(address)))
            return r->recipients[i];
    return NULL;
}

const char *reading_recipient(const struct reading *r, const struct mail_report_recipient *named, bool *sure)
{
    *sure = r->known;
    if (!r->known)
        return named->original[0] ? named->original : named->address;
    const char *found = same_recipient(r, named->original);
    if (!found)
        found = same_recipient(r, named->address);
    if (!found && r->n_recipients == 1)
        found = r->recipients[0];
    return found;
}

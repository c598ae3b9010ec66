/* Events as lines of the program's log: told once each, with ids, without what must not stand there. */
#include "tests/unit/api/event_log.h"

#include <sys/mman.h>

#include "relay/api/event_line.h"
#include "relay/api/history.h"

struct rig {
    struct event_log log;
    struct logger *logger;
    int fd;
    char text[8192];
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    event_log_open(&r->log);
    r->fd = memfd_create("lines", 0);
    struct logger_options o = {
        .level = LOG_INFO, .format = LOG_FORMAT_JSON, .privacy = LOG_ADDRESSES_HIDE, .fd = r->fd};
    r->logger = logger_new(&o);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    logger_free(r->logger);
    close(r->fd);
    event_log_close(&r->log);
    free(r);
    return 0;
}

static const char *said(struct rig *r)
{
    ssize_t n = pread(r->fd, r->text, sizeof(r->text) - 1, 0);
    r->text[n > 0 ? n : 0] = '\0';
    return r->text;
}

static int times(const char *text, const char *word)
{
    int n = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        n++;
    return n;
}

/* Runs an indexer over the log until it is up to date. */
static void index_once(struct rig *r)
{
    struct history_options o = {.dir = r->log.dir,
                                .log = r->log.log,
                                .logger = r->logger,
                                .history_ms = 604800000,
                                .map_bytes = 1 << 28};
    struct history *h;
    assert_int_equal(history_new(&o, &h), RM_OK);
    history_free(h);
}

static void outcomes_are_told_once(void **state)
{
    struct rig *r = *state;
    uint64_t soon = clock_wall_ms() + 1000;
    struct told t = {.id = msgid_make(soon), .time_ms = soon, .type = REMUDA__EVENT_TYPE__EVENT_DEFERRED};
    t.text = "450 try carol@gmail.com later";
    event_log_tell(&r->log, 0, &t);
    index_once(r);
    char id[MSGID_TEXT + 1];
    assert_int_equal(times(said(r), "mail.deferred"), 1);
    assert_int_equal(times(r->text, msgid_text(&t.id, id)), 1);
    assert_int_equal(times(r->text, "carol"), 0); /* the receiver's words quote what is to be hidden */
    assert_int_equal(times(r->text, "bob"), 0);
    t.type = REMUDA__EVENT_TYPE__EVENT_DELIVERED;
    t.state = REMUDA__RECIPIENT_STATE__RCPT_DELIVERED;
    event_log_tell(&r->log, 1, &t);
    index_once(r);
    assert_int_equal(times(said(r), "mail.deferred"), 1);
    assert_int_equal(times(r->text, "mail.delivered"), 1);
}

/* When the index is made again its old events are not news. */
static void a_new_index_tells_no_old_news(void **state)
{
    struct rig *r = *state;
    uint64_t past = clock_wall_ms() - 5000;
    struct told t = {.id = msgid_make(past), .time_ms = past, .type = REMUDA__EVENT_TYPE__EVENT_DELIVERED};
    event_log_tell(&r->log, 0, &t);
    index_once(r);
    assert_string_equal(said(r), "");
}

static void write_lines(struct rig *r, const Remuda__Event *e)
{
    struct buf lines = BUF_INIT;
    event_line_append(r->logger, &lines, e);
    logger_write_lines(r->logger, buf_span(&lines));
    buf_fini(&lines);
}

static void the_acceptance_is_a_line(void **state)
{
    struct rig *r = *state;
    Remuda__Event e = REMUDA__EVENT__INIT;
    Remuda__Acceptance a = REMUDA__ACCEPTANCE__INIT;
    a.client_address = "198.51.100.7";
    e.type = REMUDA__EVENT_TYPE__EVENT_ACCEPTED;
    e.acceptance = &a;
    e.sender = "bob@acme.example";
    e.bytes = 1234;
    write_lines(r, &e);
    assert_int_equal(times(said(r), "\n"), 1);
    assert_non_null(strstr(r->text, "mail.accepted"));
    assert_non_null(strstr(r->text, "198.51.100.7"));
    assert_non_null(strstr(r->text, "1234"));
    Remuda__SubmissionId second = REMUDA__SUBMISSION_ID__INIT;
    second.index = 1;
    e.submission = &second; /* its first event repeats what that of the first submission has told */
    write_lines(r, &e);
    assert_int_equal(times(said(r), "\n"), 1);
    e.type = REMUDA__EVENT_TYPE__EVENT_HELD;
    e.acceptance = NULL;
    e.cause = "rate";
    write_lines(r, &e);
    assert_non_null(strstr(said(r), "mail.held"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(outcomes_are_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_index_tells_no_old_news, setup, teardown),
        cmocka_unit_test_setup_teardown(the_acceptance_is_a_line, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

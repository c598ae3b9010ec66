/* The text of messages: smuggling, BDAT, chunks ahead of the record, slow senders, and that the cuts between
 * packets never matter. */
#include "tests/unit/ingress/harness.h"

#define ENVELOPE    "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
#define ENVELOPE_OK "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"
#define GO_AHEAD    "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED      "250 2.0.0 queued as ID\r\n"
#define BARE        "550 5.6.11 Bare CR or LF in the message: lines must end in CR LF\r\n"
#define NUL         "550 5.6.11 NUL octets in the message\r\n"
#define NEED        "503 5.5.1 Need MAIL and RCPT first\r\n"

/* Every sequence that some server was once fooled by. */
static const struct {
    const char *bytes;
    size_t len;
} smuggling[] = {
#define SEQ(s)                                                                                               \
    {                                                                                                        \
        s, sizeof(s) - 1                                                                                     \
    }
    SEQ("\n.\n"),       SEQ("\n.\r\n"),     SEQ("\r.\r\n"),       SEQ("\r.\r"),       SEQ("\r\n.\n"),
    SEQ("\r\n.\r"),     SEQ("\n.\r"),       SEQ("\r.\n"),         SEQ("\n\n.\r\n"),   SEQ("\r\r.\r\n"),
    SEQ("\r\n\n.\r\n"), SEQ("\n\r.\r\n"),   SEQ("\r\r\n.\r\r\n"), SEQ("\r\n.\r\r\n"), SEQ("\r\n\0.\r\n"),
    SEQ("\0\r\n.\n"),   SEQ("\r\n.\0\r\n"), SEQ("\r\0\n.\r\0\n"), SEQ("\n.\n\r\n"),   SEQ("\r\n.\n\r"),
#undef SEQ
};

static void send_smuggling(struct harness *h, size_t i)
{
    h_send(h, ENVELOPE "DATA\r\nA: b\r\n\r\nfirst");
    h_send_span(h, span_of(smuggling[i].bytes, smuggling[i].len));
    h_send(h, "MAIL FROM:<evil@b.example>\r\nRCPT TO:<x@d.example>\r\nDATA\r\nB: c\r\n\r\nsecond\r\n.\r\n");
}

/* Whatever is done with it, it is one message at most, and nothing of it was read as a command. */
static void test_smuggling_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(smuggling) / sizeof(smuggling[0]); i++) {
        struct harness *h = h_hello(h_new());
        bool nul_only = memchr(smuggling[i].bytes, 0, smuggling[i].len) &&
                        memcmp(smuggling[i].bytes, "\r\n", 2) == 0 &&
                        memcmp(smuggling[i].bytes + smuggling[i].len - 2, "\r\n", 2) == 0;
        send_smuggling(h, i);
        if (nul_only) /* proper lines; but a server that drops the NUL would see an end in some */
            h_expect(h, ENVELOPE_OK GO_AHEAD NUL);
        else
            h_expect(h, ENVELOPE_OK GO_AHEAD BARE);
        assert_int_equal(h->n_appends, 0);
        h_free(h);
    }
}

static void test_smuggling_normalised(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(smuggling) / sizeof(smuggling[0]); i++) {
        struct harness *h = h_new();
        h->listener.bare_newline = BARE_NORMALISE;
        h_hello(h);
        send_smuggling(h, i);
        bool nul = memchr(smuggling[i].bytes, 0, smuggling[i].len) != NULL;
        h_expect(h, nul ? ENVELOPE_OK GO_AHEAD NUL : ENVELOPE_OK GO_AHEAD QUEUED);
        if (nul) {
            assert_int_equal(h->n_appends, 0);
            h_free(h);
            continue;
        }
        struct message *m = h_record(h);
        assert_non_null(memmem(m->body->data, m->body->len, "second\r\n", 8));
        for (size_t k = 0; k < m->body->len; k++) {
            if (m->body->data[k] == '\n')
                assert_true(k > 0 && m->body->data[k - 1] == '\r');
            if (m->body->data[k] == '\r')
                assert_true(k + 1 < m->body->len && m->body->data[k + 1] == '\n');
        }
        message_unref(m);
        h_free(h);
    }
}

static void test_bdat(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE "BDAT 6\r\nA: b\r\nBDAT 0\r\nBDAT 7 LAST\r\n\r\n.\r\n",
           ENVELOPE_OK "250 2.0.0 6 octets received\r\n250 2.0.0 0 octets received\r\n");
    h_talk(h, "\r", "");
    h_talk(h, "\n", QUEUED);
    h_free(h);
    h = h_hello(h_new());
    /* dots are text, pipelined commands behind the chunk are commands */
    h_talk(h, ENVELOPE "BDAT 6\r\nA: b\r\nBDAT 8 LAST\r\n\r\n.\r\n.\r\nNOOP\r\n",
           ENVELOPE_OK "250 2.0.0 6 octets received\r\n" QUEUED "250 2.0.0 Ok\r\n");
    struct message *m = h_record(h);
    assert_int_equal(m->body->len, 14);
    assert_memory_equal(m->body->data, "A: b\r\n\r\n.\r\n.\r\n", 14);
    message_unref(m);
    /* a zero-length LAST ends what was sent before, or is a message of nothing */
    h_talk(h, ENVELOPE "BDAT 6\r\nA: b\r\nBDAT 0 LAST\r\n",
           ENVELOPE_OK "250 2.0.0 6 octets received\r\n" QUEUED);
    h_talk(h, ENVELOPE "BDAT 0 LAST\r\n", ENVELOPE_OK QUEUED);
    h_free(h);
}

static void test_bdat_sequence(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    /* without a transaction the octets are eaten, never read as commands */
    h_talk(h, "BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", NEED NEED "250 2.0.0 Ok\r\n");
    h_talk(h, "MAIL FROM:<a@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\n",
           "250 2.1.0 Ok\r\n554 5.5.1 No valid recipients\r\n");
    h_talk(h, "BDAT 6 LAST\r\nQUIT\r\n", NEED);
    h_talk(h, ENVELOPE "BDAT 6\r\nA: b\r\nDATA\r\n",
           ENVELOPE_OK "250 2.0.0 6 octets received\r\n503 5.5.1 DATA cannot follow BDAT\r\n");
    h_talk(h, "RCPT TO:<d@d.example>\r\n", "503 5.5.1 Need MAIL before RCPT\r\n");
    h_talk(h, "MAIL FROM:<x@b.example>\r\n", "503 5.5.1 Nested MAIL command, or no EHLO yet\r\n");
    h_talk(h, "RSET\r\nBDAT 6 LAST\r\nA: b\r\n", "250 2.0.0 Ok\r\n" NEED);
    assert_int_equal(h->n_appends, 0);
    assert_int_equal(h->taken, h->returned);
    /* an unreadable size: the end of the octets is unknown, so the session ends */
    h_send(h, "BDAT 5x LAST\r\nQUIT\r\n");
    assert_true(h->closed);
    assert_memory_equal(h_take(h), "501 5.5.4 ", 10);
    h_free(h);
}

static void test_bdat_refusals(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->settings.message_bytes = 10;
    h_hello(h);
    h_talk(h, ENVELOPE "BDAT 6\r\nA: b\r\nBDAT 6\r\nB: c\r\nBDAT 6 LAST\r\nQUIT\r\n",
           ENVELOPE_OK "250 2.0.0 6 octets received\r\n"
                       "552 5.3.4 Limit size (10 bytes) exceeded: the message has 12\r\n" NEED);
    h_talk(h, ENVELOPE "BDAT 4\r\na\nb\nBDAT 0 LAST\r\n", ENVELOPE_OK BARE NEED);
    h_talk(h, ENVELOPE "BDAT 3\r\nab\rBDAT 1 LAST\r\n\n",
           ENVELOPE_OK "250 2.0.0 3 octets received\r\n" QUEUED);
    h_talk(h, ENVELOPE "BDAT 3 LAST\r\nab\r", ENVELOPE_OK BARE);
    h_free(h);
}

/* A first chunk is refused for want of space and the rest, sent without waiting, comes when there is space
 * again: it must not be taken for the message. */
static void test_bdat_refused_then_room(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE, ENVELOPE_OK);
    h->admission = ADMIT_NO_MEMORY;
    h_talk(h, "BDAT 6\r\nA: b\r\n", "452 4.3.1 Too busy: try again later\r\n");
    h->admission = ADMIT_OK;
    h_talk(h, "BDAT 6 LAST\r\nB: c\r\n", NEED);
    assert_int_equal(h->n_appends, 0);
    assert_int_equal(h->taken, h->returned);
    h_talk(h, ENVELOPE "BDAT 6 LAST\r\nB: c\r\n", ENVELOPE_OK QUEUED);
    h_free(h);
}

/* ---- chunks ---------------------------------------------------------------------------------------- */

static void send_lines(struct harness *h, size_t bytes)
{
    static const char line[] = "0123456789012345678901234567890123456789012345678901234567890\r\n"; /* 63 */
    struct buf b = BUF_INIT;
    while (b.len < bytes)
        buf_add(&b, line, sizeof(line) - 1);
    for (size_t at = 0; at < b.len; at += 50000)
        h_send_span(h, span_of(b.data + at, b.len - at < 50000 ? b.len - at : 50000));
    buf_fini(&b);
}

/* Joins the chunks as the record lists them and compares their sum with what it says. */
static size_t check_chunks(struct harness *h)
{
    struct message *m = h_record(h);
    size_t sum = 0;
    uint32_t chunks = 0;
    assert_null(m->body);
    for (int i = 0; i < h->n_appends; i++) {
        struct mail_view view;
        size_t need;
        if (h->appends[i].kind != INBOUND_APPEND_CHUNK)
            continue;
        assert_int_equal(mail_view(buf_span(&h->appends[i].value), &view, &need), RM_OK);
        struct arena a = ARENA_INIT;
        Remuda__ChunkHeader *c = chunk_decode(&a, view.header);
        assert_non_null(c);
        assert_int_equal(c->sequence, chunks);
        assert_memory_equal(c->id.data, m->record->id.data, 16);
        assert_int_equal(m->record->chunks[chunks]->offset, 101 + (uint64_t)i);
        assert_int_equal(m->record->chunks[chunks]->bytes, h->appends[i].value.len - view.body_at);
        assert_int_equal(h->appends[i].partition, h->appends[h->n_appends - 1].partition);
        sum += m->record->chunks[chunks]->bytes;
        chunks++;
        arena_fini(&a);
    }
    assert_int_equal(m->record->n_chunks, chunks);
    assert_int_equal(m->record->body_bytes, sum);
    message_unref(m);
    return chunks;
}

static void test_large_body_streams(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE "DATA\r\nA: b\r\n\r\n", ENVELOPE_OK GO_AHEAD);
    send_lines(h, 2 * 1024 * 1024);
    assert_true(h->n_appends >= 3);
    h_talk(h, ".\r\n", QUEUED);
    assert_true(check_chunks(h) >= 4);
    h_free(h);
}

static void test_backpressure(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h->hold_appends = true;
    h_talk(h, ENVELOPE "DATA\r\nA: b\r\n\r\n", ENVELOPE_OK GO_AHEAD);
    send_lines(h, 3 * 1024 * 1024);
    assert_int_equal(h->n_appends, INBOUND_CHUNKS_IN_FLIGHT);
    assert_true(inbound_waiting(h->session));
    assert_true(h->in.len > 1024 * 1024); /* the rest was not taken in */
    h->hold_appends = false;
    h_run(h);
    h_talk(h, ".\r\n", QUEUED);
    (void)check_chunks(h);
    h_free(h);
}

static void test_slow_sender_holds_little(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE "DATA\r\nA: b\r\n\r\n", ENVELOPE_OK GO_AHEAD);
    size_t before = blob_total_bytes();
    for (int i = 0; i < 20; i++) {
        h_advance_ms(h, 1000);
        send_lines(h, 30000);
        if (i > 6)
            assert_true(blob_total_bytes() <= before + 2 * INBOUND_SLOW_CHUNK_BYTES);
    }
    assert_true(h->n_appends >= 5);
    h_talk(h, ".\r\n", QUEUED);
    (void)check_chunks(h);
    h_free(h);
}

/* An envelope counts as memory while it stands: else 1,000 recipients each would pass the limit unseen. */
static void test_envelopes_are_counted(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    size_t before = blob_total_bytes();
    h_send(h, "MAIL FROM:<a@b.example>\r\n");
    for (int i = 0; i < 500; i++) {
        char line[600];
        (void)snprintf(line, sizeof(line), "RCPT TO:<u%d@d.example> ORCPT=rfc822;%0300d@d.example\r\n", i, i);
        h_send(h, line);
    }
    assert_true(blob_total_bytes() >= before + 500 * 300);
    h_send(h, "RSET\r\n");
    assert_int_equal(blob_total_bytes(), before);
    h_free(h);
}

/* Sends much at once and then nothing: its text goes to the log without waiting for more. */
static void test_stalled_sender_holds_little(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE "DATA\r\nA: b\r\n\r\n", ENVELOPE_OK GO_AHEAD);
    size_t before = blob_total_bytes();
    send_lines(h, 400000);
    assert_int_equal(h->n_appends, 0);
    assert_true(inbound_deadline_us(h->session) <= h->now_us + (uint64_t)INBOUND_SLOW_MS * 1000);
    h_advance_ms(h, INBOUND_SLOW_MS);
    assert_int_equal(h->n_appends, 1);
    assert_true(blob_total_bytes() <= before);
    assert_true(inbound_deadline_us(h->session) > h->now_us + (uint64_t)INBOUND_SLOW_MS * 1000);
    h_talk(h, ".\r\n", QUEUED);
    assert_int_equal(check_chunks(h), 1);
    h_free(h);
}

/* What SIZE says takes no memory before it has come. */
static void test_announced_size_holds_nothing(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_send(h, "MAIL FROM:<a@b.example> SIZE=500000\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    size_t before = blob_total_bytes();
    h_send(h, "A: b\r\n");
    assert_true(blob_total_bytes() - before <= INBOUND_SLOW_CHUNK_BYTES);
    h_free(h);
}

/* Memory is so short that a message in progress is given up; its text is still read to the end. */
static void test_crowded(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h_talk(h, ENVELOPE "DATA\r\nA: b\r\n\r\n", ENVELOPE_OK GO_AHEAD);
    size_t before = blob_total_bytes();
    send_lines(h, 100000);
    h->crowded = true;
    h_talk(h, "more\r\n", "");
    assert_true(blob_total_bytes() < before);
    h->crowded = false;
    send_lines(h, 100000);
    h_talk(h, "QUIT\r\n.\r\n", "452 4.3.1 Too busy: try again later\r\n");
    assert_int_equal(h->n_appends, 0);
    assert_int_equal(h->taken, h->returned);
    h_talk(h, ENVELOPE "DATA\r\n.\r\n", ENVELOPE_OK GO_AHEAD QUEUED);
    h_free(h);
}

static void test_chunk_trouble(void **state)
{
    (void)state;
    struct harness *h = h_hello(h_new());
    h->append_status = RM_EFULL;
    h_send(h, ENVELOPE "DATA\r\nA: b\r\n\r\n");
    (void)h_take(h);
    send_lines(h, 1024 * 1024);
    h_expect(h, "");
    h_talk(h, ".\r\nNOOP\r\n", "452 4.3.1 Insufficient storage: try again later\r\n250 2.0.0 Ok\r\n");
    assert_int_equal(h->n_appends, 1);
    h->append_status = RM_OK;
    /* a client that goes away in the middle leaves no record */
    h_send(h, ENVELOPE "DATA\r\nA: b\r\n\r\n");
    send_lines(h, 1024 * 1024);
    h_free(h);
}

static void test_chunk_too_old(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->listener.data_ms = 0;
    h->listener.session_ms = 0;
    h_hello(h);
    h_send(h, ENVELOPE "DATA\r\nA: b\r\n\r\n");
    send_lines(h, 1024 * 1024);
    (void)h_take(h);
    for (int i = 0; i < 26; i++) {
        h_advance_ms(h, 60000);
        send_lines(h, 100);
    }
    h_talk(h, ".\r\n", "451 4.3.0 The message took too long: try again\r\n");
    h_free(h);
}

/* Many recipients and a text just under the chunk size: together over one value. */
static void test_large_envelope(void **state)
{
    (void)state;
    struct harness *h = h_new();
    h->tenants[0].limits.recipients = 10000;
    h_hello(h);
    h_send(h, "MAIL FROM:<a@b.example>\r\n");
    int taken = 0;
    for (int i = 0; i < 10000; i++) {
        char line[200];
        (void)snprintf(line, sizeof(line), "RCPT TO:<%060d@d.example>\r\n", i);
        h_send(h, line);
        taken += strncmp(h_take(h), "250", 3) == 0;
    }
    assert_true(taken > 5000 && taken < 10000);
    h_send(h, "DATA\r\nA: b\r\n\r\n");
    send_lines(h, 500 * 1024);
    (void)h_take(h);
    h_talk(h, ".\r\n", QUEUED);
    assert_int_equal(check_chunks(h), 1);
    h_free(h);
}

/* ---- cuts ------------------------------------------------------------------------------------------ */

static const char script[] =
    "EHLO client\r\nNOOP\nFROB\r\nMAIL FROM:<a@b.example> SIZE=20\r\nRCPT TO:<c@d.example>\r\nRCPT "
    "TO:<bad\r\n"
    "DATA\r\nA: b\r\n\r\n..x\r\n.y\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 8\r\nA: b\r\n\r\n"
    "BDAT 5 LAST\r\n.\r\nx\nNOOP\r\n" ENVELOPE "BDAT 3\r\nab\rBDAT 1 LAST\r\n\n" ENVELOPE
    "DATA\r\nbare\n.\r\nRSET\r\n.\r\nBDAT 6 LAST\r\nQUIT\r\nAUTH PLAIN\r\n*\r\nHELP\r\nRSET\r\nQUIT\r\n";

static void run_cut(size_t first, size_t piece, struct buf *replies)
{
    struct harness *h = h_new();
    h->listener.auth_without_tls = true;
    h_open(h);
    size_t len = sizeof(script) - 1;
    for (size_t at = 0; at < len;) {
        size_t n = at == 0 && first ? first : piece ? piece : len;
        if (n > len - at)
            n = len - at;
        h_send_span(h, span_of(script + at, n));
        at += n;
    }
    assert_true(h->closed);
    assert_int_equal(h->accepted, 2);
    buf_add_str(replies, h_take(h));
    h_free(h);
}

static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    struct buf whole = BUF_INIT;
    run_cut(0, 0, &whole);
    for (size_t i = 1; i < sizeof(script); i++) {
        struct buf cut = BUF_INIT;
        run_cut(i, 0, &cut);
        assert_string_equal(buf_cstr(&whole), buf_cstr(&cut));
        buf_fini(&cut);
    }
    for (size_t piece = 1; piece < 7; piece++) {
        struct buf cut = BUF_INIT;
        run_cut(0, piece, &cut);
        assert_string_equal(buf_cstr(&whole), buf_cstr(&cut));
        buf_fini(&cut);
    }
    buf_fini(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smuggling_refused),
        cmocka_unit_test(test_smuggling_normalised),
        cmocka_unit_test(test_bdat),
        cmocka_unit_test(test_bdat_sequence),
        cmocka_unit_test(test_bdat_refusals),
        cmocka_unit_test(test_bdat_refused_then_room),
        cmocka_unit_test(test_large_body_streams),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_slow_sender_holds_little),
        cmocka_unit_test(test_envelopes_are_counted),
        cmocka_unit_test(test_stalled_sender_holds_little),
        cmocka_unit_test(test_announced_size_holds_nothing),
        cmocka_unit_test(test_crowded),
        cmocka_unit_test(test_chunk_trouble),
        cmocka_unit_test(test_chunk_too_old),
        cmocka_unit_test(test_large_envelope),
        cmocka_unit_test(test_cuts_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Framing and decoding of stored values, and messages in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "queue/message.h"

static uint8_t id_bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* A record with n submissions of one recipient each, built in the arena. */
static Remuda__Record *sample(struct arena *a, size_t n)
{
    Remuda__Record *r = arena_alloc(a, sizeof(*r));
    remuda__record__init(r);
    r->id = (ProtobufCBinaryData){16, id_bytes};
    r->tenant = arena_strdup(a, "acme");
    r->sender = arena_strdup(a, "from@acme.example");
    r->n_submissions = n;
    r->submissions = arena_alloc(a, n * sizeof(*r->submissions));
    for (size_t i = 0; i < n; i++) {
        Remuda__Submission *s = arena_alloc(a, sizeof(*s));
        remuda__submission__init(s);
        s->index = (uint32_t)i + 10;
        s->domain = arena_strdup(a, "example.net");
        s->n_recipients = 1;
        s->recipients = arena_alloc(a, sizeof(*s->recipients));
        s->recipients[0] = arena_alloc(a, sizeof(Remuda__Recipient));
        remuda__recipient__init(s->recipients[0]);
        s->recipients[0]->address = arena_strdup(a, "to@example.net");
        r->submissions[i] = s;
    }
    return r;
}

static struct buf framed(const Remuda__Record *r, const char *body)
{
    struct buf b = BUF_INIT;
    mail_frame_record(&b, r);
    buf_add_str(&b, body);
    return b;
}

static void test_record_round_trip(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf b = framed(sample(&a, 2), "the body");
    struct mail_view view;
    size_t need;
    assert_int_equal(mail_view(buf_span(&b), &view, &need), RM_OK);
    assert_int_equal(view.kind, MAIL_RECORD);
    assert_true(span_eq(span_of(b.data + view.body_at, b.len - view.body_at), SPAN_LIT("the body")));
    Remuda__Record *r = record_decode(&a, view.header);
    assert_non_null(r);
    assert_string_equal(r->tenant, "acme");
    assert_int_equal(r->n_submissions, 2);
    assert_int_equal(r->submissions[1]->index, 11);
    assert_string_equal(r->submissions[1]->recipients[0]->address, "to@example.net");
    buf_fini(&b);
    arena_fini(&a);
}

static void test_one_of_many_submissions(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf b = framed(sample(&a, 300), "body");
    struct message *m;
    assert_int_equal(message_decode_one(buf_span(&b), 10 + 217, &m), RM_OK);
    assert_string_equal(m->record->tenant, "acme");
    assert_int_equal(m->record->n_submissions, 1);
    assert_int_equal(m->record->submissions[0]->index, 10 + 217);
    assert_true(m->arena.used_bytes < 4096);
    message_unref(m);
    assert_int_equal(message_decode_one(buf_span(&b), 9, &m), RM_OK); /* nobody has it: all of them */
    assert_int_equal(m->record->n_submissions, 300);
    message_unref(m);
    for (size_t len = 0; len < 200; len++) { /* a torn header is refused or decodes, never more */
        struct buf picked = BUF_INIT;
        struct span header = span_of(b.data + MAIL_FRAME_BYTES, len);
        (void)record_pick(header, 10, &picked);
        assert_true(picked.len <= len);
        buf_fini(&picked);
    }
    buf_fini(&b);
    arena_fini(&a);
}

static void test_chunks_are_seen_without_decoding(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct mail_view view;
    size_t need;
    Remuda__Record *r = sample(&a, 3);
    Remuda__Chunk chunk = REMUDA__CHUNK__INIT, *chunks[] = {&chunk};
    struct buf b = framed(r, "body");
    assert_int_equal(mail_view(buf_span(&b), &view, &need), RM_OK);
    assert_false(record_is_chunked(view.header));
    buf_fini(&b);
    r->chunks = chunks;
    r->n_chunks = 1;
    b = framed(r, "");
    assert_int_equal(mail_view(buf_span(&b), &view, &need), RM_OK);
    assert_true(record_is_chunked(view.header));
    assert_false(record_is_chunked(span_of(view.header.ptr, 3)));
    assert_false(record_is_chunked(SPAN_LIT("")));
    buf_fini(&b);
    arena_fini(&a);
}

/* From any beginning of the value the view says how much it needs, and never more than the header. */
static void test_view_of_a_beginning(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf b = framed(sample(&a, 1), "body");
    struct mail_view view;
    size_t need, header_end = b.len - 4;
    for (size_t len = 0; len < header_end; len++) {
        assert_int_equal(mail_view(span_of(b.data, len), &view, &need), RM_EAGAIN);
        assert_int_equal(need, len < MAIL_FRAME_BYTES ? MAIL_FRAME_BYTES : header_end);
    }
    assert_int_equal(mail_view(span_of(b.data, header_end), &view, &need), RM_OK);
    assert_int_equal(view.body_at, header_end);
    buf_fini(&b);
    arena_fini(&a);
}

static void test_view_refuses(void **state)
{
    (void)state;
    struct mail_view view;
    size_t need;
    assert_int_equal(mail_view(span_of("X\0\0\0\1a", 6), &view, &need), RM_ECORRUPT);
    assert_int_equal(mail_view(span_of("M\xff\0\0\1a", 6), &view, &need), RM_ECORRUPT);
    assert_int_equal(mail_view(span_of("M\0\0\0\0", 5), &view, &need), RM_OK);
    struct arena a = ARENA_INIT;
    assert_null(record_decode(&a, view.header)); /* no id, no submission */
    arena_fini(&a);
}

static bool decodes(const Remuda__Record *r)
{
    struct arena a = ARENA_INIT;
    struct buf b = BUF_INIT;
    proto_pack(&b, &r->base);
    bool ok = record_decode(&a, buf_span(&b)) != NULL;
    buf_fini(&b);
    arena_fini(&a);
    return ok;
}

static void test_record_bounds(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    Remuda__Record *r = sample(&a, 1);
    assert_true(decodes(r));
    r->id.len = 15;
    assert_false(decodes(r));
    r->id.len = 16;
    r->submissions[0]->domain = arena_strdup(&a, "");
    assert_false(decodes(r));
    r->submissions[0]->domain = arena_strdup(&a, "example.net");
    Remuda__Recipient *one = r->submissions[0]->recipients[0], *many[101];
    for (int i = 0; i < 101; i++)
        many[i] = one;
    r->submissions[0]->recipients = many;
    r->submissions[0]->n_recipients = 100;
    assert_true(decodes(r));
    r->submissions[0]->n_recipients = 101;
    assert_false(decodes(r));
    r->submissions[0]->n_recipients = 0;
    assert_false(decodes(r));
    r->n_submissions = 0;
    assert_false(decodes(r));
    arena_fini(&a);
}

/* Bytes that were cut or changed decode to something in bounds or not at all; the sanitizers watch. */
static void test_damaged_records(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf b = BUF_INIT;
    proto_pack(&b, &sample(&a, 3)->base);
    for (size_t len = 0; len < b.len; len++) {
        struct arena in = ARENA_INIT;
        (void)record_decode(&in, span_of(b.data, len));
        arena_fini(&in);
    }
    srandom(7);
    for (int i = 0; i < 5000; i++) {
        char *copy = malloc(b.len);
        assert_non_null(copy);
        memcpy(copy, b.data, b.len);
        for (int k = 0; k < 3; k++)
            copy[(size_t)random() % b.len] = (char)random();
        struct arena in = ARENA_INIT;
        Remuda__Record *r = record_decode(&in, span_of(copy, b.len));
        assert_true(!r || (r->n_submissions >= 1 && r->id.len == 16));
        arena_fini(&in);
        free(copy);
    }
    buf_fini(&b);
    arena_fini(&a);
}

static void test_chunk(void **state)
{
    (void)state;
    Remuda__ChunkHeader c = REMUDA__CHUNK_HEADER__INIT;
    c.id = (ProtobufCBinaryData){16, id_bytes};
    c.sequence = 3;
    c.started_ms = 1234567890123;
    struct buf b = BUF_INIT;
    mail_frame_chunk(&b, &c);
    struct mail_view view;
    size_t need;
    assert_int_equal(mail_view(buf_span(&b), &view, &need), RM_OK);
    assert_int_equal(view.kind, MAIL_CHUNK);
    struct arena a = ARENA_INIT;
    Remuda__ChunkHeader *back = chunk_decode(&a, view.header);
    assert_non_null(back);
    assert_int_equal(back->sequence, 3);
    assert_int_equal(back->started_ms, 1234567890123);
    struct message *m;
    assert_int_equal(message_decode(buf_span(&b), true, &m), RM_ECORRUPT); /* a chunk is no message */
    arena_fini(&a);
    buf_fini(&b);
}

static void test_submission_identity(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    Remuda__Record *r = sample(&a, 2);
    Remuda__SubmissionId id = record_submission_id(r, 3, 77, 1);
    assert_true(id.partition == 3 && id.offset == 77 && id.index == 11);
    Remuda__Carried carried = REMUDA__CARRIED__INIT;
    carried.from_offset = 60;
    carried.origin_offset = 50;
    r->carried = &carried;
    id = record_submission_id(r, 3, 77, 0);
    assert_true(id.partition == 3 && id.offset == 50 && id.index == 10);
    Remuda__SubmissionId origin = REMUDA__SUBMISSION_ID__INIT;
    origin.partition = 1;
    origin.offset = 5;
    origin.index = 2;
    r->submissions[0]->origin = &origin;
    id = record_submission_id(r, 3, 77, 0);
    assert_true(id.partition == 1 && id.offset == 5 && id.index == 2);
    arena_fini(&a);
}

static void test_message(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    struct buf b = framed(sample(&a, 1), "the body");
    struct message *m;
    assert_int_equal(message_decode(buf_span(&b), true, &m), RM_OK);
    struct message *again = message_ref(m);
    message_unref(m);
    memset(b.data, 0, b.len); /* nothing points into the value */
    assert_string_equal(again->record->sender, "from@acme.example");
    assert_true(span_eq(blob_span(again->body), SPAN_LIT("the body")));
    message_unref(again);
    message_unref(NULL);
    buf_fini(&b);
    b = framed(sample(&a, 1), "the body");
    assert_int_equal(message_decode(buf_span(&b), false, &m), RM_OK);
    assert_null(m->body);
    message_unref(m);
    assert_int_equal(message_decode(span_of(b.data, 20), true, &m), RM_ECORRUPT);
    buf_fini(&b);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_round_trip),
        cmocka_unit_test(test_one_of_many_submissions),
        cmocka_unit_test(test_chunks_are_seen_without_decoding),
        cmocka_unit_test(test_view_of_a_beginning),
        cmocka_unit_test(test_view_refuses),
        cmocka_unit_test(test_record_bounds),
        cmocka_unit_test(test_damaged_records),
        cmocka_unit_test(test_chunk),
        cmocka_unit_test(test_submission_identity),
        cmocka_unit_test(test_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

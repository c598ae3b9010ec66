/* Bodies in pieces: from memory, from behind their record, from chunks; and what does not belong together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/body.h"
#include "queue/memory/memory.h"

enum { CHUNKS_MOST = 4 };

struct fixture {
    struct log *log;
    struct log_client *client;
    struct message *message;
    Remuda__Chunk chunks[CHUNKS_MOST], *list[CHUNKS_MOST];
    struct body_source source;
};

static uint8_t id[16] = {1, 2, 3};
static uint8_t other_id[16] = {4, 5, 6};

static void wake(void *arg)
{
    (void)arg;
}

static int no_index(struct span value, struct log_index_key out[LOG_INDEX_KEYS_MOST])
{
    (void)value;
    (void)out;
    return 0;
}

static void setup(struct fixture *f)
{
    struct log_options o = {.partitions = 2, .index = no_index};
    *f = (struct fixture){0};
    assert_int_equal(memory_log_open(&o, &f->log), RM_OK);
    f->client = log_client_new(f->log, wake, NULL);
    f->message = message_new();
    f->message->record->id = (ProtobufCBinaryData){sizeof(id), id};
    f->source = (struct body_source){.log = f->log, .partition = 1, .message = f->message};
}

static void teardown(struct fixture *f)
{
    message_unref(f->message);
    log_client_free(f->client);
    log_close(f->log);
}

struct appended {
    int status;
    uint64_t offset;
};

static void on_done(void *arg, struct log_batch *b, int status)
{
    struct appended *a = arg;
    a->status = status;
    a->offset = log_batch_offset(b, 0);
}

/* Appends head and body to mail[1]; returns the offset. */
static uint64_t append(struct fixture *f, struct buf *head, struct span body)
{
    struct appended a = {.status = RM_EIO};
    struct blob *blob = blob_of(body.ptr, body.len);
    struct log_batch *b = log_batch_new(LOG_INTAKE);
    log_batch_append(b, LOG_MAIL, 1, buf_span(head), blob, NULL);
    log_submit(f->client, b, on_done, &a);
    log_client_flush(f->client);
    assert_int_equal(a.status, RM_OK);
    blob_unref(blob);
    buf_fini(head);
    return a.offset;
}

static uint64_t append_record(struct fixture *f, struct span body)
{
    struct buf head = BUF_INIT;
    mail_frame_record(&head, f->message->record);
    return append(f, &head, body);
}

static uint64_t append_chunk(struct fixture *f, uint8_t of[16], uint32_t sequence, struct span body)
{
    struct buf head = BUF_INIT;
    Remuda__ChunkHeader h = REMUDA__CHUNK_HEADER__INIT;
    h.id = (ProtobufCBinaryData){16, of};
    h.sequence = sequence;
    mail_frame_chunk(&head, &h);
    return append(f, &head, body);
}

static void add_chunk(struct fixture *f, uint64_t offset, size_t bytes)
{
    Remuda__Record *r = f->message->record;
    size_t i = r->n_chunks++;
    remuda__chunk__init(&f->chunks[i]);
    f->chunks[i].offset = offset;
    f->chunks[i].bytes = (uint32_t)bytes;
    f->list[i] = &f->chunks[i];
    r->chunks = f->list;
    r->body_bytes += bytes;
}

/* Reads all of it; what there was is in out. */
static int read_all(struct fixture *f, struct buf *out, int *pieces)
{
    struct body_reader r;
    struct span piece;
    int err;
    *pieces = 0;
    body_read_begin(&r, &f->source);
    while ((err = body_read_next(&r, &piece)) == RM_OK && piece.ptr) {
        assert_ptr_equal(r.held->data, piece.ptr);
        buf_add_span(out, piece);
        ++*pieces;
    }
    body_read_end(&r);
    body_read_end(&r);
    return err;
}

static void reads(struct fixture *f, struct span what, int in_pieces)
{
    struct buf got = BUF_INIT;
    int pieces;
    assert_int_equal(read_all(f, &got, &pieces), RM_OK);
    assert_int_equal(pieces, in_pieces);
    assert_true(span_eq(buf_span(&got), what));
    buf_fini(&got);
}

static void fails(struct fixture *f, int err, int after_pieces)
{
    struct buf got = BUF_INIT;
    int pieces;
    assert_int_equal(read_all(f, &got, &pieces), err);
    assert_int_equal(pieces, after_pieces);
    buf_fini(&got);
}

static void a_body_in_memory_is_referenced(void **state)
{
    (void)state;
    struct fixture f;
    struct body_reader r;
    struct span piece;
    setup(&f);
    f.message->body = blob_of("hello", 5);
    f.message->record->body_bytes = 5;
    body_read_begin(&r, &f.source);
    assert_int_equal(body_read_next(&r, &piece), RM_OK);
    assert_ptr_equal(piece.ptr, f.message->body->data);
    struct blob *longer = blob_ref(r.held);
    assert_int_equal(body_read_next(&r, &piece), RM_OK);
    assert_null(piece.ptr);
    body_read_end(&r);
    message_unref(f.message);
    assert_true(span_eq(blob_span(longer), SPAN_LIT("hello")));
    blob_unref(longer);
    f.message = message_new();
    teardown(&f);
}

static void an_empty_body_is_one_empty_piece(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.source.at = append_record(&f, SPAN_LIT(""));
    reads(&f, SPAN_LIT(""), 1);
    f.message->body = blob_new(0);
    reads(&f, SPAN_LIT(""), 1);
    teardown(&f);
}

static void a_body_behind_its_record_is_read_from_the_log(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.message->record->body_bytes = 12;
    f.source.at = append_record(&f, SPAN_LIT("body of mail"));
    reads(&f, SPAN_LIT("body of mail"), 1);
    reads(&f, SPAN_LIT("body of mail"), 1);
    teardown(&f);
}

static void chunks_are_read_in_the_order_of_the_record(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    uint64_t second = append_chunk(&f, id, 1, SPAN_LIT("second "));
    uint64_t first = append_chunk(&f, id, 0, SPAN_LIT("first "));
    uint64_t third = append_chunk(&f, id, 2, SPAN_LIT("third"));
    add_chunk(&f, first, 6);
    add_chunk(&f, second, 7);
    add_chunk(&f, third, 5);
    f.source.at = append_record(&f, SPAN_LIT(""));
    reads(&f, SPAN_LIT("first second third"), 3);
    teardown(&f);
}

static void chunks_of_another_message_or_place_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    uint64_t mine = append_chunk(&f, id, 0, SPAN_LIT("mine"));
    uint64_t alien = append_chunk(&f, other_id, 1, SPAN_LIT("alien"));
    add_chunk(&f, mine, 4);
    add_chunk(&f, alien, 5);
    fails(&f, RM_ECORRUPT, 1);
    f.chunks[1].offset = mine; /* its own, but at the wrong place */
    fails(&f, RM_ECORRUPT, 1);
    teardown(&f);
}

static void a_record_is_no_chunk_and_a_chunk_no_record(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    uint64_t record = append_record(&f, SPAN_LIT("text"));
    f.source.at = append_chunk(&f, id, 0, SPAN_LIT("text"));
    f.message->record->body_bytes = 4;
    fails(&f, RM_ECORRUPT, 0);
    f.message->record->body_bytes = 0;
    add_chunk(&f, record, 4);
    fails(&f, RM_ECORRUPT, 0);
    teardown(&f);
}

static void what_was_deleted_is_not_found(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.source.at = 17;
    fails(&f, RM_ENOTFOUND, 0);
    add_chunk(&f, append_chunk(&f, id, 0, SPAN_LIT("here")), 4);
    add_chunk(&f, 99, 4);
    fails(&f, RM_ENOTFOUND, 1);
    teardown(&f);
}

static void a_body_of_another_length_is_corrupt_at_its_end(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    f.message->record->body_bytes = 5;
    f.source.at = append_record(&f, SPAN_LIT("text"));
    fails(&f, RM_ECORRUPT, 1);
    f.message->record->body_bytes = 3;
    fails(&f, RM_ECORRUPT, 1);
    f.message->record->body_bytes = 4;
    reads(&f, SPAN_LIT("text"), 1);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_in_memory_is_referenced),
        cmocka_unit_test(an_empty_body_is_one_empty_piece),
        cmocka_unit_test(a_body_behind_its_record_is_read_from_the_log),
        cmocka_unit_test(chunks_are_read_in_the_order_of_the_record),
        cmocka_unit_test(chunks_of_another_message_or_place_are_refused),
        cmocka_unit_test(a_record_is_no_chunk_and_a_chunk_no_record),
        cmocka_unit_test(what_was_deleted_is_not_found),
        cmocka_unit_test(a_body_of_another_length_is_corrupt_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

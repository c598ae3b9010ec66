/*
 * Text for people: times, ages, sizes, and receivers' words made safe for a terminal. Buffers are the
 * caller's, TEXT_ROOM bytes; the functions return them.
 */
#ifndef REMUDA_RELAY_CTL_TEXT_H
#define REMUDA_RELAY_CTL_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TEXT_ROOM = 48 };

/* "2026-11-23 21:05:07.123 UTC"; "-" for 0. */
const char *text_time(uint64_t ms, char out[TEXT_ROOM]);
/* "3 d 4 h", "12 min", "45 s", "320 ms". */
const char *text_age(uint64_t ms, char out[TEXT_ROOM]);
/* "812 B", "10.2 KB", "3.1 MB" (1024 each). */
const char *text_bytes(uint64_t n, char out[TEXT_ROOM]);
/* Parses "45s", "30m", "12h", "7d" as that long before now_ms, or a number as itself. False: neither. */
bool text_parse_time(const char *text, uint64_t now_ms, uint64_t *out);

/*
 * Prints text of unknown origin: control characters (also those of UTF-8's C1 range) as \xNN, so that
 * nobody's mail server can write on the terminal; lines after the first begin with indent spaces.
 */
void text_print(FILE *to, const char *text, int indent);

/* A member of an object by name: "" or 0 when it is not there or of another type. Borrowed. */
const char *text_get(const json_t *object, const char *key);
uint64_t text_num(const json_t *object, const char *key);

/* A table: cells are copied, columns as wide as their widest cell, numbers flush right. At most 16 columns.
 */
struct text_table;
/* header: n_columns names; one that begins with ">" (not printed) is flush right. */
struct text_table *text_table_new(const char *const *header, int n_columns);
void text_table_cell(struct text_table *t, const char *text);
void text_table_number(struct text_table *t, uint64_t n);
/* Prints all full rows and frees it. */
void text_table_print(struct text_table *t, FILE *to);

#endif

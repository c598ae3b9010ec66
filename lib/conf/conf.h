/*
 * Configuration files: YAML read into a tree whose nodes know file, line and column, and typed values taken
 * from it by tables of keys (name, type, default, bounds, help), from which the documentation is generated.
 * What a key means is the caller's. The only folder that names libfyaml.
 *
 * No input makes it crash or grow without bound: a file has at most CONF_FILE_MOST bytes, CONF_NODES_MOST
 * nodes and CONF_DEPTH_MOST levels; an alias (*name) is another reference to the same node, never a copy, and
 * may not stand inside what it names. Single-threaded.
 */
#ifndef REMUDA_LIB_CONF_CONF_H
#define REMUDA_LIB_CONF_CONF_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"

enum { CONF_FILE_MOST = 64 << 20, CONF_NODES_MOST = 1 << 21, CONF_DEPTH_MOST = 32, CONF_ERRORS_MOST = 50 };

/* What is wrong, one line each: "file:line:column: what was found, what was expected". */
struct conf_errors {
    struct buf *out; /* borrowed */
    int count;       /* also of those over CONF_ERRORS_MOST, which are not written */
};

enum conf_kind { CONF_SCALAR, CONF_LIST, CONF_MAP };

struct conf_node;

/* One element of a list (key NULL) or one pair of a map. */
struct conf_entry {
    const struct conf_node *key;
    const struct conf_node *value;
    const struct conf_entry *next;
};

struct conf_node {
    enum conf_kind kind;
    bool plain; /* scalar without quotes */
    const char *file;
    int line, column;                 /* from 1 */
    struct span text;                 /* scalar; NUL-terminated, but may hold NULs before that */
    const struct conf_entry *entries; /* list or map, in the order of the file */
    int n_entries;
    /* private while reading */
    struct conf_entry *last;
    bool open;
};

/*
 * Reads a file. All nodes live in arena. *root is the document's node. RM_ENOTFOUND, RM_EIO: the file;
 * RM_EINVAL: not YAML, empty, several documents, over a bound. An error line has been written.
 */
int conf_read(const char *path, struct arena *arena, struct conf_errors *errors,
              const struct conf_node **root) MUST_CHECK;
/* The same from memory; name stands for the file in messages. */
int conf_parse(const char *name, struct span text, struct arena *arena, struct conf_errors *errors,
               const struct conf_node **root) MUST_CHECK;

/* Adds an error at the node's place. node may be NULL: no place. */
void conf_error(struct conf_errors *errors, const struct conf_node *node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The value of a key of a map, NULL when absent or when node is NULL or no map. */
const struct conf_node *conf_get(const struct conf_node *node, const char *key);
/* Where to report trouble with a key: its value, else the node itself. */
const struct conf_node *conf_place(const struct conf_node *node, const char *key);
/* Element i of a list (from 0), NULL when there is none. Linear. */
const struct conf_node *conf_at(const struct conf_node *list, int i);

/* What the field at a key's offset is. */
enum conf_type {
    CONF_STRING,    /* const char *, not empty */
    CONF_NAME,      /* const char *: letters, digits, "-", "_", "."; at most 63 */
    CONF_DOMAIN,    /* const char *: a domain or a pattern (".x", "*"), made lower case; ASCII */
    CONF_PATH,      /* const char *: made absolute against the file's directory */
    CONF_IP,        /* const char *: an IP address in its canonical text */
    CONF_ENDPOINT,  /* const char *: "127.0.0.1:25", "[::1]:25" */
    CONF_WORD,      /* const char *: one of words */
    CONF_ENUM,      /* int: index into words */
    CONF_BOOL,      /* bool: true, false, yes, no, on, off */
    CONF_INT,       /* integer of 2, 4 or 8 bytes, never negative */
    CONF_DURATION,  /* uint64_t milliseconds: "300ms", "5m", "1h30m", "0" */
    CONF_SIZE,      /* bytes, 4 or 8 bytes wide: "50MiB", "0" */
    CONF_RATE,      /* struct conf_rate: "100/s", "10/min", "200/5m", "0" */
    CONF_STRINGS,   /* const char *const *, count in int */
    CONF_DOMAINS,   /* likewise, each as CONF_DOMAIN */
    CONF_ENDPOINTS, /* likewise */
    CONF_WORDS,     /* likewise, each one of words */
    CONF_DURATIONS, /* const uint64_t *, count in int */
    CONF_NETWORKS,  /* const struct conf_network *, count in int: "192.0.2.0/24", "2001:db8::/32", "192.0.2.1"
                     */
    CONF_SECTION,   /* the fields of another table, offsets into the same struct plus this one's */
    CONF_SECTIONS,  /* list of maps: pointer to an array of the section's size, count in int */
    CONF_NODE,      /* const struct conf_node *: the caller reads it */
};

struct conf_rate {
    uint32_t count; /* 0: no limit */
    uint64_t per_us;
};

struct conf_network { /* network byte order; IPv4 as v4-mapped, bits counted likewise */
    uint8_t prefix[16];
    int bits; /* 0..128 */
};

struct conf_section;

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset, width;
    size_t count_offset; /* lists: of the int that takes the count */
    const char *initial; /* default, as it would stand in the file; NULL: none (zero) */
    uint64_t min, max;   /* of integers, durations (ms) and sizes; max 0: no bound. Lists: of the count */
    const char *const *words; /* NULL-terminated */
    const struct conf_section *section;
    bool required;
    const char *help; /* one sentence for the documentation */
};

struct conf_section {
    const char *title; /* "node", "pools[].members[]" */
    const char *help;
    const struct conf_key *keys;
    int n_keys;
    size_t size; /* of the struct, for CONF_SECTIONS */
};

/* Fields of a key row: place and width of a member, and of a member with its count. */
#define CONF_AT(type, member)             .offset = offsetof(type, member), .width = sizeof(((type *)NULL)->member)
#define CONF_LIST_AT(type, member, count) CONF_AT(type, member), .count_offset = offsetof(type, count)

struct conf_fill {
    struct arena *arena; /* where strings and arrays go */
    struct conf_errors *errors;
};

/*
 * Fills *into from a map by the table: defaults first, then what the map holds. Unknown keys (with a "did you
 * mean"), duplicates, wrong types and missing required keys are written to the errors; filling goes on, so
 * that one run shows them all. node may be NULL: defaults only (required keys are then reported nowhere).
 */
void conf_fill(const struct conf_fill *f, const struct conf_section *section, const struct conf_node *node,
               void *into);

/* The section, and those in it, as Markdown tables. */
void conf_document(const struct conf_section *section, struct buf *out);

/* Parsers of single values, as used by the tables. */
bool conf_parse_duration(struct span text, uint64_t *ms);
bool conf_parse_size(struct span text, uint64_t *bytes);
bool conf_parse_rate(struct span text, struct conf_rate *out);
bool conf_parse_network(struct span text, struct conf_network *out);
/* 16 bytes, IPv4 as v4-mapped. */
bool conf_parse_ip(struct span text, uint8_t out[16]);
/* "ip:port" or "[ip]:port" with port 1..65535. */
bool conf_parse_endpoint(struct span text);
/* The word nearest to text when it is near enough to be meant; NULL. words: NULL-terminated. */
const char *conf_nearest(struct span text, const char *const *words);

#endif

/*
 * A disk whose power fails: what a journal says was written and synced, and the files as they may stand on
 * the disk when everything stops at some position of the journal.
 */
#ifndef REMUDA_TESTS_POWERCUT_DISK_H
#define REMUDA_TESTS_POWERCUT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

/* Exits with a message when the journal cannot be read. */
struct disk *disk_load(const char *journal);
void disk_free(struct disk *d);
/* Bytes of the journal: the last position at which it can be cut. */
uint64_t disk_end(const struct disk *d);

/* Builds the files below dir as a cut at this position may leave them: what was synced before, and of each
 * later write all, nothing or any of its sectors. Uses random(). */
void disk_build(const struct disk *d, uint64_t cut, const char *dir);
/* Builds the files with everything that was written. */
void disk_build_whole(const struct disk *d, const char *dir);
/* True when name below a is, byte for byte, name below b, apart from zeros at the end. */
bool disk_same(const char *a, const char *b, const char *name);
/* Removes the files of a directory. */
void disk_empty_dir(const char *dir);

/*
 * Cuts at so many random positions from first on, builds the files and lets look(arg, dir, cut) judge them in
 * a fresh process: 0 when everything is there. A process that dies or hangs on the files has lost them.
 * Returns at how many cuts something was lost, and prints "cuts=N lost=L" and the first of them.
 */
typedef int (*disk_look_fn)(void *arg, const char *dir, uint64_t cut);
int disk_cuts(const struct disk *d, int cuts, unsigned seed, uint64_t first, disk_look_fn look, void *arg);

/* The bytes of a file, in memory of the caller's; exits when it cannot be read. */
char *disk_slurp(const char *path, size_t *len);

#endif

/*
 * What tests/powercut/relay notes of a real relay under the shim, and powercut_check_relay reads: one note
 * for each recipient of a message that got its 250. Numbers are the machine's, without padding.
 */
#ifndef REMUDA_TESTS_POWERCUT_RELAY_NOTES_H
#define REMUDA_TESTS_POWERCUT_RELAY_NOTES_H

#include <stdint.h>

enum { RELAY_ID_BYTES = 32, RELAY_ADDRESS_BYTES = 64 };

struct relay_note {
    uint64_t position; /* bytes of the journal when the client had read its 250 */
    uint64_t body_at;  /* what the client had sent: its place in the file of bodies */
    uint64_t body_len;
    char id[RELAY_ID_BYTES]; /* as the 250 named it, NUL-terminated */
    char address[RELAY_ADDRESS_BYTES];
};

#endif

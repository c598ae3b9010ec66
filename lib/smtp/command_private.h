/* Shared by the command parsers of this folder. */
#ifndef REMUDA_LIB_SMTP_COMMAND_PRIVATE_H
#define REMUDA_LIB_SMTP_COMMAND_PRIVATE_H

#include "lib/base/span.h"

/* Takes the next word off *rest, spaces and tabs around it dropped; empty at the end. */
struct span smtp_word_take(struct span *rest);

#endif

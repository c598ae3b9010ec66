/* deploy/rules.yaml, as it was when this was built: for configurations that name no rules file. */
#include "router/rules_private.h"

__asm__(".pushsection .rodata\n"
        ".global remuda_rules_begin\n.hidden remuda_rules_begin\nremuda_rules_begin:\n"
        ".incbin \"" REMUDA_RULES_FILE "\"\n"
        ".global remuda_rules_end\n.hidden remuda_rules_end\nremuda_rules_end:\n"
        ".byte 0\n"
        ".popsection\n");

extern const char remuda_rules_begin[] __attribute__((visibility("hidden")));
extern const char remuda_rules_end[] __attribute__((visibility("hidden")));

struct span rules_builtin(void)
{
    return span_of(remuda_rules_begin, (size_t)(remuda_rules_end - remuda_rules_begin));
}

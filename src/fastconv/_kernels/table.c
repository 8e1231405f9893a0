/* Which kernels this processor gets. */
#include "atomic.h"
#include "kernels.h"
#include "processor.h"

#define FC_DECLARE(set, code, dtype, stored, real, bits) \
    extern const fc_kernels fc_kernels_##dtype##_##set;
#define FC_BUILT(set, has_it)                   \
    FC_DTYPE_LIST(FC_DECLARE, set)              \
    static int has_##set(void) { return has_it; }
#define FC_LEFT_OUT(set)
#include "isa_list.h"

#define FC_TABLE(set, code, dtype, stored, real, bits) [code] = &fc_kernels_##dtype##_##set,
static const struct {
    const char *name;
    int (*processor_has_it)(void); /* NULL where this build left the set out */
    const fc_kernels *tables[FC_DTYPES];
} sets[] = {
#define FC_BUILT(set, has_it) {#set, has_##set, {FC_DTYPE_LIST(FC_TABLE, set)}},
#define FC_LEFT_OUT(set) {#set, NULL, {NULL}},
#include "isa_list.h"
};
enum { SETS = sizeof sets / sizeof sets[0] };

static int chosen = SETS - 1; /* the last one is the baseline, which every build has */

const char *fc_isa_name(int i) { return i < SETS ? sets[i].name : NULL; }

int fc_isa_is_available(int i) { return sets[i].processor_has_it && sets[i].processor_has_it(); }

void fc_select(int i) { fc_store_int(&chosen, i); }

const fc_kernels *fc_table(int dtype) { return sets[fc_load_int(&chosen)].tables[dtype]; }

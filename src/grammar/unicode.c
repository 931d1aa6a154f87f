#include "grammar/unicode.h"

#include "unicode_tables.inc"

size_t unicode_fold_from(uint32_t point)
{
        size_t lo = 0, hi = unicode_n_folds;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (unicode_folds[mid].from < point)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

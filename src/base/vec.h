/* A growable array by macro: struct VEC(T) name; vec_push(&name, value). */
#ifndef CAIRN_BASE_VEC_H
#define CAIRN_BASE_VEC_H

#include <stddef.h>
#include "base/mem.h"

#define VEC(T)                 \
        {                      \
                T *p;          \
                size_t n, cap; \
        }
/* 0 or -1 when memory is out (the vector keeps its content). */
#define vec_reserve(v, want) \
        ((want) <= (v)->cap ? 0 : vec_grow_((void **)&(v)->p, &(v)->cap, (want), sizeof(*(v)->p)))
#define vec_push(v, value) (vec_reserve((v), (v)->n + 1) ? -1 : ((v)->p[(v)->n++] = (value), 0))
#define vec_release(v) (mem_free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)
int vec_grow_(void **p, size_t *cap, size_t want, size_t size);
#endif

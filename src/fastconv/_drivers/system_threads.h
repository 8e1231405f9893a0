/* Threads: OpenMP's and the system's, what each of them knows, and Python's signals. */
#ifndef FASTCONV_SYSTEM_THREADS_H
#define FASTCONV_SYSTEM_THREADS_H

#include <Python.h>

#include "atomic.h"

/* ---- OpenMP ---- */

#ifdef _OPENMP
#include <omp.h>
static int fc_openmp_version(void) { return _OPENMP; }
/* how many threads a region of this thread's may have: what libraries such as threadpoolctl set */
static int fc_max_threads(void) { return omp_get_max_threads(); }
/* How many processors the threads may run on. The system would tell that of this thread alone:
 * where threads are bound to places (OMP_PROC_BIND, OMP_PLACES), OpenMP binds the first one while
 * it is loaded. There are places only where threads are bound; those that overlap count twice
 * here. */
static int fc_num_processors(void) {
    int n = omp_get_num_procs();
#if _OPENMP >= 201511
    int in_places = 0;
    for (int i = 0; i < omp_get_num_places(); i++) in_places += omp_get_place_num_procs(i);
    if (in_places && in_places < n) n = in_places;
#endif
    return n;
}
#else
static int fc_openmp_version(void) { return 0; }
static int fc_max_threads(void) { return 1; }
static int fc_num_processors(void) { return 1; }
#endif

/* ---- the system ---- */

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
static int fc_at_fork(void (*child)(void)) { (void)child; return 0; } /* it does not fork */
static long long fc_milliseconds(void) { return (long long)GetTickCount64(); }
#else
#include <pthread.h>
#include <time.h>
/* Have `child` called in every forked child; not 0 when that cannot be arranged. */
static int fc_at_fork(void (*child)(void)) { return pthread_atfork(NULL, NULL, child); }
/* since some moment in the past */
static long long fc_milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
#endif

/* ---- what each thread knows ---- */

/* how often it holds signals */
static FC_THREAD_LOCAL int fc_held = 0;
static void fc_hold(int by) { fc_held += by; }
static int fc_is_held(void) { return fc_held != 0; }

/* the status so far of the call of whose tasks it runs one; NULL outside of tasks */
static FC_THREAD_LOCAL const int *fc_call_status = NULL;
static const int *fc_get_call_status(void) { return fc_call_status; }
static void fc_set_call_status(const int *status) { fc_call_status = status; }

/* ---- signals ---- */

/* Let Python call the handlers of signals that have come; not 0 where one has raised, whose
 * exception is left pending. */
static int fc_handlers_raise(void) {
    const PyGILState_STATE state = PyGILState_Ensure();
    const int raised = PyErr_CheckSignals();
    PyGILState_Release(state);
    return raised;
}

/* ---- the compiler ---- */

#if defined(__clang__)
#define FC_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define FC_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define FC_COMPILER "msvc"
#else
#define FC_COMPILER "unknown"
#endif

#endif

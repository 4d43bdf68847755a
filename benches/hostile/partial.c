/* A kernel that is as awkward as it may be, for one process (x86-64 Linux):
 *
 *     partial PID SEED                 reads and writes take 1 to 7 bytes, and each third of these
 *                                      calls, of epoll_wait and of accept4 is interrupted
 *     partial PID CALL ERRNO N once    the N-th of these calls fails, and no more is told than that
 *     partial PID CALL ERRNO N on      the N-th and all after it
 *
 * It says "attached" when all threads are watched; at SIGINT it lets go, and says what it did. A
 * library in front of the C library would not do: these programs make their system calls without
 * it. strace would not do either, where a kernel keeps a promise:
 *
 * - A descriptor is free when close returns, whatever it returns: the call is made, and then said
 *   to have failed. All others are not made.
 * - Who is told of edges may take EAGAIN, and a read or write of less than was asked for, for the
 *   end: the next byte, or room for one, is news. So when there may be more behind a read that was
 *   cut, or room behind a write, and after each EAGAIN, the socket is entered into its epoll once
 *   more, as if that had come or was free just now.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 64
#define OWN_FDS 5000 /* ours stand from here on: the numbers below are the other's */
#define BYTES_MAX 7

static pid_t process;
static int pidfd, epfd, their_epfd = -1;
static volatile sig_atomic_t is_over;
static struct thread {
    pid_t id;
    long cut;         /* bytes that the call under way may move; 0: it was left as it is */
    long told;        /* what it is said to return; 0: what it returns */
    struct { long at, was; } kept[2]; /* words of its memory that were changed for the call */
} threads[THREADS_MAX];
static unsigned long seed, cuts, interrupts, edges, calls, told, fail_first;
static long failing = -1, fail_errno, fail_goes_on;
static const struct { const char *name; long number; } CALLS[] = {
    {"accept4", SYS_accept4}, {"close", SYS_close}, {"recvfrom", SYS_recvfrom},
    {"recvmsg", SYS_recvmsg}, {"sendmsg", SYS_sendmsg}, {"sendto", SYS_sendto},
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void let_go(int signal)
{
    (void)signal;
    is_over = 1;
    for (int n = 0; n < THREADS_MAX; n++)
        if (threads[n].id)
            ptrace(PTRACE_INTERRUPT, threads[n].id, 0, 0);
}

static long drawn(long below)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (long)((seed >> 33) % below);
}

static struct thread *thread_of(pid_t id)
{
    struct thread *free = NULL;
    for (int n = 0; n < THREADS_MAX; n++) {
        if (threads[n].id == id)
            return &threads[n];
        if (!threads[n].id && !free)
            free = &threads[n];
    }
    if (!free)
        die("too many threads");
    *free = (struct thread){.id = id};
    return free;
}

static int own(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS);
    close(fd);
    return high;
}

static void find_epoll(void)
{
    char path[300], to[64] = "";
    snprintf(path, sizeof path, "/proc/%d/fd", process);
    DIR *fds = opendir(path);
    for (struct dirent *fd; fds && (fd = readdir(fds));) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", process, fd->d_name);
        ssize_t size = readlink(path, to, sizeof to - 1);
        to[size > 0 ? size : 0] = 0;
        if (!strcmp(to, "anon_inode:[eventpoll]"))
            their_epfd = atoi(fd->d_name);
    }
    if (their_epfd < 0)
        die("no epoll");
    closedir(fds);
    epfd = own(syscall(SYS_pidfd_getfd, pidfd, their_epfd, 0));
}

/* With what this socket is entered into the epoll: whether it is. */
static int entry_of(int fd, struct epoll_event *event)
{
    char path[64], line[256];
    int tfd = -1;
    unsigned events;
    unsigned long long data;
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", process, their_epfd);
    FILE *info = fopen(path, "re");
    while (info && tfd != fd && fgets(line, sizeof line, info))
        if (sscanf(line, "tfd: %d events: %x data: %llx", &tfd, &events, &data) == 3)
            *event = (struct epoll_event){.events = events, .data.u64 = data};
    if (info)
        fclose(info);
    return tfd == fd;
}

/* Have it told once more what is so of this socket, if it is told of it at all. */
static void edge(int fd)
{
    struct epoll_event event;
    if (!entry_of(fd, &event))
        return;
    int theirs = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    if (theirs != fd && dup2(theirs, fd) == fd) /* it is known by its number, too */
        close(theirs);
    edges += !epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event);
    close(fd);
}

static long word(struct thread *thread, long at)
{
    return ptrace(PTRACE_PEEKDATA, thread->id, at, 0);
}

static void change(struct thread *thread, int n, long at, long to)
{
    thread->kept[n].at = at;
    thread->kept[n].was = word(thread, at);
    ptrace(PTRACE_POKEDATA, thread->id, at, to);
}

/* Of the slices that start there, the first, and of that a part. */
static void cut_slices(struct thread *thread, long slices, long max)
{
    long size = word(thread, slices + 8); /* behind where it lies */
    thread->cut = size < max ? size : max;
    change(thread, 0, slices + 8, thread->cut);
}

/* It is not made. */
static void refuse(struct thread *thread, struct user_regs_struct *regs)
{
    regs->orig_rax = -1;
    ptrace(PTRACE_SETREGS, thread->id, 0, regs);
}

static void enter(struct thread *thread, struct user_regs_struct *regs)
{
    long call = regs->orig_rax, max = 1 + drawn(BYTES_MAX);
    if (failing >= 0) {
        if (call == failing && (++calls == fail_first || (fail_goes_on && calls > fail_first))) {
            told++;
            thread->told = -fail_errno;
            if (call != SYS_close)
                refuse(thread, regs);
        }
        return;
    }
    int is_plain =
        call == SYS_read || call == SYS_write || call == SYS_recvfrom || call == SYS_sendto;
    int is_other = call == SYS_epoll_wait || call == SYS_epoll_pwait || call == SYS_accept4;
    if (!is_plain && !is_other && call != SYS_sendmsg && call != SYS_writev)
        return;
    if (drawn(3) == 0) {
        interrupts++;
        thread->told = -EINTR;
        refuse(thread, regs);
    } else if (call == SYS_writev) {
        cut_slices(thread, regs->rsi, max);
        regs->rdx = 1;
    } else if (call == SYS_sendmsg) { /* a name, its size, the slices, how many */
        cut_slices(thread, word(thread, regs->rsi + 16), max);
        change(thread, 1, regs->rsi + 24, 1);
    } else if (is_plain && regs->rdx > 8) { /* an eventfd gives all its eight or none */
        thread->cut = regs->rdx = max;
    }
    cuts += thread->cut > 0;
    ptrace(PTRACE_SETREGS, thread->id, 0, regs);
}

static void leave(struct thread *thread, struct user_regs_struct *regs)
{
    for (int n = 0; n < 2; n++)
        if (thread->kept[n].at)
            ptrace(PTRACE_POKEDATA, thread->id, thread->kept[n].at, thread->kept[n].was);
    if ((thread->cut && (long)regs->rax == thread->cut) || thread->told == -EAGAIN)
        edge(regs->rdi);
    if (thread->told) {
        regs->rax = thread->told;
        ptrace(PTRACE_SETREGS, thread->id, 0, regs);
    }
    *thread = (struct thread){.id = thread->id};
}

static void at_call(struct thread *thread)
{
    struct user_regs_struct regs;
    struct __ptrace_syscall_info info;
    ptrace(PTRACE_GETREGS, thread->id, 0, &regs);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof info, &info) < 0)
        return; /* it was ended meanwhile */
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && !is_over)
        enter(thread, &regs);
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
        leave(thread, &regs);
}

/* How many threads there are. */
static int attach(void)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", process);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        pid_t id = atoi(task->d_name);
        if (!id)
            continue;
        if (ptrace(PTRACE_SEIZE, id, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE) < 0)
            die("cannot watch it");
        thread_of(id);
        ptrace(PTRACE_INTERRUPT, id, 0, 0);
        count++;
    }
    closedir(tasks);
    return count;
}

static void watch(int unwatched)
{
    int status;
    for (pid_t id; (id = waitpid(-1, &status, __WALL)) > 0;) {
        struct thread *thread = thread_of(id);
        if (!WIFSTOPPED(status)) {
            thread->id = 0;
            continue;
        }
        int is_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
        int passed_on = is_call || status >> 16 ? 0 : WSTOPSIG(status);
        if (is_call)
            at_call(thread);
        /* In the middle of a call that was changed it is not let go. */
        int is_let_go = is_over && !thread->cut && !thread->told;
        ptrace(is_let_go ? PTRACE_DETACH : PTRACE_SYSCALL, id, 0, passed_on);
        if (is_let_go)
            thread->id = 0;
        if (--unwatched == 0)
            puts("attached");
    }
}

int main(int count, char **words)
{
    if (count != 3 && count != 6)
        return 2;
    setlinebuf(stdout);
    process = atoi(words[1]);
    seed = strtoul(words[2], NULL, 10) * 2 + 1;
    if (count == 6) {
        for (size_t n = 0; n < sizeof CALLS / sizeof *CALLS; n++)
            if (!strcmp(words[2], CALLS[n].name))
                failing = CALLS[n].number;
        if (failing < 0)
            die(words[2]);
        fail_errno = atoi(words[3]);
        fail_first = strtoul(words[4], NULL, 10);
        fail_goes_on = !strcmp(words[5], "on");
    }
    pidfd = own(syscall(SYS_pidfd_open, process, 0));
    find_epoll();
    signal(SIGINT, let_go);
    watch(attach());
    printf("%lu cut, %lu interrupted, %lu edges, %lu told\n", cuts, interrupts, edges, told);
    return 0;
}

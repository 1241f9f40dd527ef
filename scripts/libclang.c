// Whether the libclang that a build would take can be used: finds it as the crate clang-sys does (bindgen's way to it), loads it,
// and lets it read a header of its own. Prints the library, or what is wrong with it.
//
//   libclang DIRECTORY… [-- CLANG-ARGUMENT…]    in the order of clang-sys; scripts/needs.sh knows the directories
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unsaved { const char *name, *contents; unsigned long length; };

static const char *const patterns[] = {"libclang.so", "libclang-*.so", "libclang.so.*", "libclang-*.so.*"};
enum { PARTS = 8 };

// The version in a file's name, read as clang-sys reads it: what is no number counts as 0.
static void version(const char *name, long parts[PARTS]) {
  char text[256] = "";
  memset(parts, 0, PARTS * sizeof *parts);
  if (strncmp(name, "libclang.so.", 12) == 0) snprintf(text, sizeof text, "%s", name + 12);
  else if (strncmp(name, "libclang-", 9) == 0) snprintf(text, sizeof text, "%.*s", (int)strlen(name) - 12, name + 9);
  int part = 0;
  for (char *at = text; *text && part < PARTS; part++) {
    char *end = strchr(at, '.'), *rest;
    if (end) *end = 0;
    long number = strtol(at, &rest, 10);
    parts[part] = 1 + (*at && !*rest ? number : 0); // A part that is there is more than one that is not.
    if (!end) break;
    at = end + 1;
  }
}

static int is_library(const char *path) {
  unsigned char head[5] = {0};
  FILE *file = fopen(path, "rb");
  if (!file) return 0;
  size_t read = fread(head, 1, sizeof head, file);
  fclose(file);
  return read == sizeof head && memcmp(head, "\177ELF", 4) == 0 && head[4] == (sizeof(void *) == 8 ? 2 : 1);
}

int main(int count, char **arguments) {
  char best[4096] = "";
  long best_version[PARTS] = {0};
  int at = 1;
  for (; at < count && strcmp(arguments[at], "--") != 0; at++) {
    for (size_t pattern = 0; pattern < sizeof patterns / sizeof *patterns; pattern++) {
      char path[4096];
      glob_t found;
      snprintf(path, sizeof path, "%s/%s", arguments[at], patterns[pattern]);
      if (glob(path, 0, NULL, &found) != 0) continue;
      for (size_t index = 0; index < found.gl_pathc; index++) {
        const char *name = strrchr(found.gl_pathv[index], '/') + 1;
        long this_version[PARTS];
        // libclang-cpp is another library: LLVM's C++ interface.
        if (strstr(name, "-cpp.") || !is_library(found.gl_pathv[index])) continue;
        version(name, this_version);
        int newer = 0;
        for (int part = 0; part < PARTS && !newer; part++) newer = (this_version[part] > best_version[part]) - (this_version[part] < best_version[part]);
        if (!*best || newer > 0) {
          snprintf(best, sizeof best, "%s", found.gl_pathv[index]);
          memcpy(best_version, this_version, sizeof best_version);
        }
      }
      globfree(&found);
    }
  }
  if (!*best) return puts("there is no libclang.so (libclang-cpp.so is another library)"), 1;

  void *library = dlopen(best, RTLD_NOW | RTLD_LOCAL);
  if (!library) return printf("%s does not load: %s\n", best, dlerror()), 1;
  void *(*create)(int, int) = (void *(*)(int, int))dlsym(library, "clang_createIndex");
  void *(*parse)(void *, const char *, const char *const *, int, struct unsaved *, unsigned, unsigned) =
      (void *(*)(void *, const char *, const char *const *, int, struct unsaved *, unsigned, unsigned))dlsym(library, "clang_parseTranslationUnit");
  unsigned (*diagnostics)(void *) = (unsigned (*)(void *))dlsym(library, "clang_getNumDiagnostics");
  void *(*diagnostic)(void *, unsigned) = (void *(*)(void *, unsigned))dlsym(library, "clang_getDiagnostic");
  int (*severity)(void *) = (int (*)(void *))dlsym(library, "clang_getDiagnosticSeverity");
  if (!create || !parse || !diagnostics || !diagnostic || !severity) return printf("%s is not libclang\n", best), 1;

  const char *text = "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\nbool probe(size_t, uint32_t);\n";
  struct unsaved file = {"probe.h", text, strlen(text)};
  const char *const *clang_arguments = (const char *const *)(at < count ? arguments + at + 1 : NULL);
  void *unit = parse(create(0, 0), file.name, clang_arguments, at < count ? count - at - 1 : 0, &file, 1, 0);
  if (!unit) return printf("%s reads no header\n", best), 1;
  for (unsigned index = 0; index < diagnostics(unit); index++)
    if (severity(diagnostic(unit, index)) >= 3) return printf("%s does not find its own headers (stdbool.h, stddef.h)\n", best), 1;
  puts(best);
  return 0;
}

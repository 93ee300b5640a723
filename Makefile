# make | make test | make rehearse [SCENARIO=...] | make bench | make install PREFIX=... | make clean
# make rehearse-all [SCALE=10] [SCENARIOS="order_items blue_green"] [DRILLS="forward rollback"]: every scenario, or these, with every drill, or these
# make lint | make format | make test-unit | make test-e2e | make tsan | make fuzz
# make test-matrix [VERSIONS="13 18"]: what works on which server version, as a table
#
# BUILD is the folder for everything made; CC may be gcc or clang; SANITIZE=address,undefined or thread builds with sanitizers;
# V=1 shows the commands.

BUILD    ?= build
PREFIX   ?= /usr/local
CC       ?= cc
SCENARIO ?= scenarios/user_status.lua
ARGS     ?=
SCALE    ?= 0.1
SCENARIOS ?=
VERSION  := 0.1.0

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
OPTIMIZE ?= -O2
SAN_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
PKGS     := libpq lua5.4 jansson zlib libzstd
# What a statement costs the client is mostly code that the cache has just lost to a server process: one program whose parts lie close
# together, Lua among them, takes 6 % less than one with shared Lua and calls between files (seen with 8 and 64 clients). gcc only: clang's
# needs a linker of its own.
GCC      := $(if $(SANITIZE),,$(findstring gcc,$(shell $(CC) --version 2>/dev/null | head -1)$(shell $(CC) -v 2>&1 | grep -o '^gcc version')))
LTO      ?= $(if $(GCC),-flto=auto)
AR       := $(if $(LTO),gcc-ar,ar)
LUA_LIB  := $(if $(wildcard $(shell pkg-config --variable=libdir lua5.4 2>/dev/null)/liblua5.4.a),-l:liblua5.4.a -ldl,-llua5.4)
CPPFLAGS += -Iharness -isystem /usr/include/postgresql -DPGR_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS   += -std=c17 -g $(OPTIMIZE) $(LTO) $(WARNINGS) $(SAN_FLAGS) -pthread
LDLIBS   := $(subst -llua5.4,$(LUA_LIB),$(shell pkg-config --libs $(PKGS) 2>/dev/null)) -lpg_query -lm -pthread
LDFLAGS  += $(SAN_FLAGS) $(if $(LTO),$(OPTIMIZE) $(LTO))
# What is being made, in a word a line; nothing under make -s.
Q        := $(if $(V),,@)
say       = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@printf '  %-3s %s\n' $(1))
# As many jobs as cores, unless the caller's make shares its own.
JOBS      = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

SOURCES  := $(filter-out harness/cli/%,$(wildcard harness/*/*.c))
CLI      := $(wildcard harness/cli/*.c)
OBJECTS  := $(SOURCES:%.c=$(BUILD)/%.o)
CLI_OBJ  := $(CLI:%.c=$(BUILD)/%.o)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
FAKE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/fake/*.c))

.DEFAULT_GOAL := all
.SECONDARY:
.PHONY: all program test test-unit test-e2e test-matrix tsan bench lint format install clean deps rehearse rehearse-all unit-binaries compile-flags fuzz fuzz-binaries

all: deps
	@$(MAKE) --no-print-directory $(JOBS) program
program: $(BUILD)/pgrehearse
	@:

# Installs what is missing from Debian's packages; a second's look when nothing is.
deps:
	@scripts/install-deps --quiet

$(BUILD)/pgrehearse: $(OBJECTS) $(CLI_OBJ)
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libharness.a: $(OBJECTS)
	$(call say,AR $@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/fake/%.o: CPPFLAGS += -Itests

$(BUILD)/tests/unit/%: tests/unit/%.c $(FAKE_OBJ) $(BUILD)/libharness.a
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(CPPFLAGS) -Itests/unit -Itests $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(FAKE_OBJ) $(BUILD)/libharness.a -lcmocka $(LDLIBS)

unit-binaries: $(UNIT_BIN)

# Lints, unit tests under ASan and UBSan, then real servers.
test: deps
	@scripts/run-tests

test-unit test-e2e: test-%: deps
	@scripts/run-tests $*

# Each server version (12 as far as it goes) against each kind of target; a quarter of an hour, and some 100 MB to fetch.
VERSIONS ?= 12 13 14 15 16 17 18
test-matrix: all
	@set -- $(filter-out $(patsubst /usr/lib/postgresql/%/bin/postgres,%,$(wildcard /usr/lib/postgresql/*/bin/postgres)),$(VERSIONS)); \
		[ $$# -eq 0 ] || scripts/more-servers "$$@"
	@rm -f $(BUILD)/test-matrix.txt
	@PGREHEARSE_VERSIONS="$(VERSIONS)" PGREHEARSE=$(BUILD)/pgrehearse PGREHEARSE_MATRIX=$(BUILD)/test-matrix.txt prove tests/e2e/versions.t; code=$$?; \
		cat $(BUILD)/test-matrix.txt; exit $$code

# Unit tests of the rooms with threads under ThreadSanitizer. Not part of `make test`: the same tests run there under ASan.
tsan: deps
	@scripts/run-tests tsan

# Each fuzz target for FUZZ_SECONDS, with clang's libFuzzer; what it found stays in build/fuzz/.
FUZZ_SECONDS ?= 60
FUZZ_BIN     := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(BUILD)/libharness.a
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fsanitize=fuzzer -MMD -MP $(LDFLAGS) -o $@ $< $(BUILD)/libharness.a $(LDLIBS)
fuzz-binaries: $(FUZZ_BIN)
fuzz: deps
	@$(MAKE) --no-print-directory -s BUILD=$(BUILD)/fuzz CC=clang OPTIMIZE=-O1 SANITIZE=fuzzer-no-link,address,undefined fuzz-binaries
	@cd $(BUILD)/fuzz && for target in $(notdir $(FUZZ_BIN)); do \
		mkdir -p corpus/$$target && tests/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 corpus/$$target \
			$$(find ../../tests/fuzz/corpus/$$target -maxdepth 0 2>/dev/null) || exit 1; \
	done

lint: deps
	@scripts/lint

format:
	clang-format -i $(wildcard harness/*/*.[ch] tests/*/*.[ch])

# For tools that look at the code beside the compiler.
compile-flags:
	@: $(info -std=c17 -Itests/unit -Itests $(CPPFLAGS))

rehearse: all
	@$(BUILD)/pgrehearse run $(SCENARIO) $(ARGS)

# One table of all verdicts; records and the table go to ALL_OUT. An hour and more.
ALL_OUT  ?= rehearsals/all-$(shell date +%Y%m%d-%H%M%S)
rehearse-all: all
	@SCENARIOS="$(SCENARIOS)"$(if $(DRILLS), DRILLS="$(DRILLS)") PGREHEARSE=$(BUILD)/pgrehearse scripts/rehearse-all $(ALL_OUT) --scale $(SCALE) $(ARGS)

bench: all
	@scripts/bench

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/pgrehearse
	install -m 755 $(BUILD)/pgrehearse $(DESTDIR)$(PREFIX)/bin/pgrehearse
	cp -R scenarios workloads reports $(DESTDIR)$(PREFIX)/share/pgrehearse/

clean:
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d) $(FAKE_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(UNIT_BIN:=.d) $(FUZZ_BIN:=.d)

# What is tested and how; included by the Makefile.

# A test binary sees its own level and those below, so that a missing piece shows at link time.
TEST_LIB_core := $(CORE) $(CASES)
TEST_LIB_deliberate := $(CORE)
TEST_LIB_autograd := $(CORE) $(AUTOGRAD)
TEST_LIB_data := $(CORE) $(DATA)
TEST_LIB_layers := $(CORE) $(AUTOGRAD) $(LAYERS) $(GPU)
TEST_LIB_cuda := $(CORE) $(GPU) $(CASES)
TEST_LIB_apps := $(COMMON) $(LIBRARY) $(if $(FILES_apps),,$(APP_PARTS))
# The storms also call the mains of the programs that read files.
MAINS := $(patsubst %,$(BUILD)/obj/tests/storm/main_%.o,train evaluate predict contrast replicate)
TEST_LIB_storm := $(call objects,tests/apps/support.cpp) $(MAINS) $(TEST_LIB_apps)
TEST_LIBS_data = $(IMAGES_LIBS) $(SENTENCEPIECE_LIBS)
TEST_LIBS_cuda = $(CUDA_LIBS)
TEST_LIBS_layers = $(if $(GPU),$(CUDA_LIBS))
TEST_LIBS_apps = $(APP_LIBS)
TEST_LIBS_storm = $(APP_LIBS)
TEST_MAIN := $(call objects,$(wildcard tests/main.cpp) $(sort $(wildcard tests/common/*.cpp)))
ALL_SUITES := core autograd data layers $(if $(GPU),cuda) apps storm deliberate
SUITES ?= $(ALL_SUITES)
PRESENT := $(strip $(foreach s,$(filter $(ALL_SUITES),$(SUITES)),$(if $(wildcard tests/$(s)/*.cpp),$(s))))
TESTS := $(addprefix $(BUILD)/tests/,$(PRESENT))
# One fuzz target per file of tests/fuzz, with the parsers it may call.
FUZZ ?= $(basename $(notdir $(wildcard tests/fuzz/*.cpp)))

tests: $(TESTS)
fuzzers: $(addprefix $(BUILD)/fuzz/,$(FUZZ))
# Builds the test binaries and, for tests/apps, the programs and the library, installed beside them; then runs them.
check: override PREFIX := $(abspath $(BUILD))/installed
check: override DESTDIR :=
check: $(if $(filter apps storm,$(PRESENT)),$(PROGRAMS)) $(if $(filter apps,$(PRESENT)),install) $(TESTS)
	@$(PREPARE) fashion-mnist || echo "tests go on without Fashion-MNIST"
	@SKEDASTIC_DATA="$(DATA_ROOT)" BUILD="$(BUILD)" CXX="$(CXX) $(filter -fsanitize=%,$(OPT))" tests/run.sh \
	  $(if $(filter file,$(origin SUITES)),$(PRESENT),$(SUITES))

ifneq ($(BUILDING),)
# FILES_<suite>: some of its files instead of all (of apps without what is the programs' own).
test_files = $(or $(FILES_$(1)),$(wildcard tests/$(1)/*.cpp))
test_objects = $(sort $(call objects,$(call test_files,$(1))) $(TEST_MAIN) $(TEST_LIB_$(1)))
$(foreach s,$(PRESENT),\
  $(eval $(call program,$(BUILD)/tests/$(s),$(call test_objects,$(s)),$(LIBS) $(TEST_LIBS_$(s)))))
$(MAINS): $(BUILD)/obj/tests/storm/main_%.o: $(BUILD)/obj/apps/%/main.o
	@mkdir -p $(@D); objcopy --redefine-sym main=main_$* $< $@
# Preloaded into programs by tests/storm, and never instrumented.
FAIL_CALLS := $(BUILD)/obj/tests/storm/fail_calls.so
$(BUILD)/tests/storm: | $(FAIL_CALLS)
$(FAIL_CALLS): tests/storm/preload/fail_calls.cpp
	@mkdir -p $(@D); echo "  link    $@"
	$(Q)$(CXX) -std=c++20 -O1 -Wall -Wextra -shared -fPIC $< -o $@ -ldl
ifneq ($(filter fuzzers,$(MAKECMDGOALS)),)
  # By clang, with its instruments: what reads. By GCC and without them: what only has to be there,
  # with C++20 that clang does not take before its version 16.
  READERS := $(CORE) $(DATA) \
             $(call objects,apps/common/config/fields.cpp apps/common/run/identity.cpp apps/replicate/curve.cpp)
  FUZZ_PARTS := $(sort $(READERS) $(TEST_LIB_apps))
  BY_GCC := $(filter $(BUILD)/obj/core/cpu/%,$(CORE)) $(filter-out $(READERS),$(TEST_LIB_apps)) \
            $(call objects,$(foreach f,config checkpoint plan summary,tests/fuzz/$(f).cpp))
  $(foreach f,$(FUZZ),$(eval $(call program,$(BUILD)/fuzz/$(f),\
    $(call objects,tests/fuzz/$(f).cpp) $(FUZZ_PARTS),-fsanitize=fuzzer $(APP_LIBS))))
  $(BY_GCC): override CXX = g++
  $(BY_GCC): override OPT = -O1
  $(BY_GCC): override COLD_OPT = -O1
endif
endif

lint:
	@tests/lint.sh
format:
	@git ls-files -z -- '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 -r clang-format -i
bench: deps
	$(SUBMAKE) $(BUILD)/bench
	$(BUILD)/bench

# ---- sanitizers -----------------------------------------------------------------------------------------------------
# -g1: lines for the traces, a third less to compile. GCC's own advice: with a sanitizer -Wmaybe-uninitialized reports
# what is not there.
SANITIZE = -O1 -g1 -fno-omit-frame-pointer -Wno-maybe-uninitialized
asan: deps
	$(SUBMAKE) check BUILD="$(BUILD)/asan" OPT="$(SANITIZE) -fsanitize=address"
ubsan: deps
	$(SUBMAKE) check BUILD="$(BUILD)/ubsan" OPT="$(SANITIZE) -fsanitize=undefined -fno-sanitize-recover=all"
# Both at once: one build and one run instead of two. The programs too, whatever is tested: another compiler has to take
# them.
BOTH_SANITIZERS = $(SANITIZE) -fsanitize=address,undefined -fno-sanitize-recover=all
sanitize: deps
	$(SUBMAKE) programs check BUILD="$(BUILD)/sanitize" OPT="$(BOTH_SANITIZERS)"
# Our own threads, the loader's and what meets them in training, under ThreadSanitizer. OpenMP is off: its library is
# not instrumented.
TSAN_CASES = loader*,trainer: runs*,trainer: the loss*,trainer: label*,trainer: a loss*,$\
             collections: training*,collections: corrupt*
TSAN_FILES = FILES_data="$(addprefix tests/data/,loader.cpp caption_files.cpp image_collection.cpp)" \
             FILES_apps="$(addprefix tests/apps/,trainer.cpp collections.cpp support.cpp)"
tsan: deps
	$(SUBMAKE) $(BUILD)/tsan/tests/data $(BUILD)/tsan/tests/apps BUILD="$(BUILD)/tsan" OPT="-O1 -g1 -fsanitize=thread" \
	  CXXFLAGS="-fno-openmp -Wno-unknown-pragmas -Wno-unused-function" LDFLAGS=-lgomp ONEDNN=0 CUDA=0 $(TSAN_FILES)
	@BUILD="$(BUILD)/tsan" TEST_CASES="$(TSAN_CASES)" tests/run.sh data apps

# The GPU's kernels as C++: races between their threads, and addresses that no card could follow (tests/cuda/host).
# Convolutions and attention take two thirds of the time: RACES="parity: *" for all.
RACES ?= races*,device*,recording*,parity: element-wise,parity: memory,parity: reductions,parity: index,$\
         parity: random,parity: optimizers,parity: products,parity: norms,parity: softmax,parity: likelihood
races: deps
	$(SUBMAKE) $(BUILD)/tests/cuda CUDA=host
	@BUILD="$(BUILD)" TEST_CASES="$(RACES)" tests/run.sh cuda

# ---- long checks ----------------------------------------------------------------------------------------------------
# The suite's short storms, long: kills over all programs; failing calls of each program and each way to fail.
STORM_KILLS ?= 1000
STORM_CALLS ?= 1000
storm: deps
	$(SUBMAKE) programs $(BUILD)/tests/storm
	@STORM_KILLS=$(STORM_KILLS) STORM_CALLS=$(STORM_CALLS) BUILD="$(BUILD)" TEST_CASES="kills*,failing calls*" \
	  TEST_TIMEOUT=7200 tests/run.sh storm
# Damaged files of each kind, under AddressSanitizer.
STORM_MUTATIONS ?= 2000
mutations: deps
	$(SUBMAKE) programs $(BUILD)/asan/tests/storm BUILD="$(BUILD)/asan" OPT="$(SANITIZE) -fsanitize=address"
	@STORM_MUTATIONS=$(STORM_MUTATIONS) BUILD="$(BUILD)/asan" TEST_CASES="mutations*" TEST_TIMEOUT=36000 \
	  tests/run.sh storm
# libFuzzer comes with clang; its warnings are not ours, the code is held to GCC's.
CLANGXX ?= clang++
FUZZ_SECONDS ?= 60
FUZZ_OPT = -O1 -g1 -fsanitize=address,fuzzer-no-link
FUZZ_MAIN = extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }
fuzz: deps
	@if ! echo '$(FUZZ_MAIN)' | $(CLANGXX) -fopenmp -fsanitize=fuzzer,address -x c++ - -o /dev/null 2>/dev/null; then \
	  echo "error: no libFuzzer here: install clang, libclang-rt-dev and libomp-dev, or name a compiler by CLANGXX=" \
	  >&2; exit 1; fi
	$(SUBMAKE) fuzzers BUILD="$(BUILD)/fuzz" CXX="$(CLANGXX)" OPT="$(FUZZ_OPT)" CXXFLAGS=-w ONEDNN=0 FUZZ="$(FUZZ)"
	@BUILD="$(BUILD)/fuzz" FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh $(FUZZ)

# ---- GPUs -----------------------------------------------------------------------------------------------------------
gpu-check:
	@tests/gpu_check.sh
# The same script on the emulated GPU, faults planted; built as `make sanitize CUDA=host` builds, so that CI compiles
# little for it.
gpu-rehearsal: deps
	$(SUBMAKE) $(BUILD)/sanitize/bench $(BUILD)/sanitize/tests/cuda CUDA=host BUILD="$(BUILD)/sanitize" \
	  OPT="$(BOTH_SANITIZERS)"
	@BUILD="$(BUILD)/sanitize" TEST_CASES="gpu-check*" tests/run.sh cuda

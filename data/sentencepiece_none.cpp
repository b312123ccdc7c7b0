// Without SentencePiece: what needs it says so.
#include "core/error.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

[[noreturn]] void missing() {
  fail("tokenizer",
       "this program was built without SentencePiece, which makes and reads vocabularies (make deps, then make)");
}

}  // namespace

struct Tokenizer::Model {};

bool can_tokenize() { return false; }

Tokenizer Tokenizer::train(const std::vector<std::string>&, int64_t) { missing(); }
Tokenizer Tokenizer::load(const std::string&) { missing(); }
Tokenizer Tokenizer::parse(std::string, const std::string&) { missing(); }
const std::string& Tokenizer::bytes() const { missing(); }
void Tokenizer::save(const std::string&) const { missing(); }
int64_t Tokenizer::vocabulary() const { missing(); }
TokenBatch Tokenizer::encode(const std::vector<std::string>&, int64_t, bool) const { missing(); }
std::string Tokenizer::decode(std::span<const int64_t>) const { missing(); }
std::string Tokenizer::fingerprint() const { missing(); }

}  // namespace sked

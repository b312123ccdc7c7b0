#pragma once
// Captions to token ids: byte-pair encoding (Sennrich et al., ACL 2016, arXiv 1508.07909) by SentencePiece,
// trained and run by its library (sentencepiece.cpp; without it, sentencepiece_none.cpp says what is missing).

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace sked {

/// Was this program built with SentencePiece?
bool can_tokenize();

/// N captions of context length T.
struct TokenBatch {
  Tensor ids;   // i64 (N, T): begin marker, pieces, end marker, padding
  Tensor ends;  // i64 (N): where the end marker is
};

/// A vocabulary of V pieces with markers for begin, end, padding and unknown text. Copies share it; safe from several
/// threads. Without the library every function throws Error saying so.
class Tokenizer {
 public:
  /// Trains a vocabulary of at most `pieces`, markers included: fewer where the captions support no more. Every
  /// character of the captions, lower-cased and NFKC-normalized (the library's nmt_nfkc_cf), becomes a piece. The same
  /// captions give the same bytes. Throws Error for captions that check_caption() refuses, of which nothing is left
  /// after normalization, with more characters than `pieces` has room for, or of more than 1 GiB.
  static Tokenizer train(const std::vector<std::string>& captions, int64_t pieces);
  /// Reads a SentencePiece model: unigram or BPE, with begin, end and padding markers. What the library would
  /// believe unseen (the trie of the normalizer, above all) is checked first. Throws Error naming the file otherwise.
  static Tokenizer load(const std::string& path);
  /// The same of a model's bytes; `source` names them in errors.
  static Tokenizer parse(std::string model, const std::string& source);

  /// Writes the model file (atomically). Throws Error naming it.
  void save(const std::string& path) const;
  /// The model file's bytes.
  const std::string& bytes() const;
  /// V.
  int64_t vocabulary() const;
  /// A caption with more than context - 2 pieces is an Error that quotes it and says how many; with `truncate` the
  /// pieces that are too many go, and the end marker stays. Text that holds no piece of the vocabulary becomes the
  /// unknown piece. Throws Error for a context below 3, and for a caption that check_caption() refuses.
  TokenBatch encode(const std::vector<std::string>& captions, int64_t context, bool truncate) const;
  /// The normalized text of these ids; markers vanish. Throws Error for an id outside 0 … V-1.
  std::string decode(std::span<const int64_t> ids) const;
  /// 16 hexadecimal digits of the model's bytes (core/fingerprint.h), to name a vocabulary in messages.
  std::string fingerprint() const;

 private:
  struct Model;
  explicit Tokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  std::shared_ptr<const Model> model_;
};

/// Is a text empty, or only white space (Unicode's)?
bool is_blank(std::string_view text);

/// Throws Error naming `source` for a caption that is empty or only white space, longer than 64 KiB, with a word
/// (between blanks) of more than 8 KiB, not UTF-8, or has a NUL; with the offset of the byte at fault.
void check_caption(std::string_view caption, const std::string& source);

}  // namespace sked

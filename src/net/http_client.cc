// The public face of the HTTP client: calls that own a transfer, and the texts of URLs.
#include "net/http_client.h"

#include <algorithm>
#include <utility>

#include "net/http_loop.h"

namespace pgark {
namespace {

class CurlCall final : public HttpCall {
 public:
  CurlCall(std::shared_ptr<HttpLoop> loop, HttpRequest request)
      : loop_(std::move(loop)), slot_(std::move(request), loop_->options()) {
    loop_->submit(slot_);
  }
  ~CurlCall() override { loop_->release(slot_); }
  Result<HttpResponse> wait() override { return loop_->wait(slot_); }

 private:
  std::shared_ptr<HttpLoop> loop_;  // Shared with the client, which may go first.
  HttpLoop::Slot slot_;
};

class CurlClient final : public HttpClient {
 public:
  explicit CurlClient(std::shared_ptr<HttpLoop> loop) : loop_(std::move(loop)) {}
  ~CurlClient() override { loop_->stop(); }
  std::unique_ptr<HttpCall> start(HttpRequest request) override {
    return std::make_unique<CurlCall>(loop_, std::move(request));
  }

 private:
  std::shared_ptr<HttpLoop> loop_;  // Shared with the calls.
};

}  // namespace

std::string_view HttpResponse::header(std::string_view name) const {
  const auto at = std::find_if(headers.begin(), headers.end(), [&](const HttpHeader& h) { return h.name == name; });
  return at == headers.end() ? std::string_view() : std::string_view(at->value);
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(HttpOptions options) {
  TRY_ASSIGN(auto loop, HttpLoop::start(std::move(options)));
  return std::unique_ptr<HttpClient>(std::make_unique<CurlClient>(std::move(loop)));
}

std::string url_encode(std::string_view text, bool keep_slash) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

}  // namespace pgark

#include "api-gateway/io/docs.h"

#include <fstream>
#include <iterator>

#include "api-gateway/domain/openapi.h"
#include "api-gateway/domain/problem.h"

namespace trunkline::gateway {
namespace {

constexpr char kBundle[] = "swagger-ui-bundle.js";
constexpr char kStyle[] = "swagger-ui.css";
constexpr char kStart[] = "start.js";  // ours: the policy below allows no script in the page

// The files' names are fixed: nothing of a request's path gets near the file system.
constexpr std::pair<const char*, const char*> kFiles[] = {
    {kBundle, "text/javascript; charset=utf-8"},
    {kStyle, "text/css; charset=utf-8"},
    {kStart, "text/javascript; charset=utf-8"},
    {"favicon-16x16.png", "image/png"},
    {"favicon-32x32.png", "image/png"},
};

constexpr char kPage[] = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Trunkline API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
)";

constexpr char kStartScript[] = R"(window.onload = function () {
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    presets: [SwaggerUIBundle.presets.apis]
  });
};
)";

constexpr char kMissing[] = R"(<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Trunkline API</title></head>
<body>
<h1>Trunkline API</h1>
<p>The API is described at <a href="/openapi.json">/openapi.json</a> (OpenAPI 3).</p>
<p>Swagger UI cannot be shown: its files swagger-ui-bundle.js and swagger-ui.css are not in the
directory that <code>swagger_ui_dir</code> of the gateway's configuration names. <code>make
setup</code> fetches them from Debian's package r-cran-swagger; the gateway finds them without a
restart.</p>
</body>
</html>
)";

constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

HttpResponse html(const char* text) {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.headers = {{"Content-Security-Policy", kPolicy},
                      {"Cache-Control", "no-cache"},
                      {"Referrer-Policy", "no-referrer"}};
  response.body = text;
  return response;
}

}  // namespace

Docs::Docs(std::string directory)
    : directory_(std::move(directory)), openapi_(openapi_document().dump(1)) {
  const std::lock_guard lock(mutex_);
  load();
}

bool Docs::load() {
  if (!files_.empty()) return true;
  if (directory_.empty()) return false;
  std::map<std::string, std::string> files;
  for (const auto& [name, type] : kFiles) {
    std::ifstream in(directory_ + "/" + name, std::ios::binary);
    if (in) files[name].assign(std::istreambuf_iterator<char>(in), {});
  }
  if (files[kBundle].empty() || files[kStyle].empty()) return false;
  files[kStart] = kStartScript;
  files_ = std::move(files);
  return true;
}

HttpResponse Docs::openapi() const {
  HttpResponse response;
  response.headers = {{"Cache-Control", "no-cache"}};
  response.body = openapi_;
  return response;
}

HttpResponse Docs::page() {
  const std::lock_guard lock(mutex_);
  return html(load() ? kPage : kMissing);
}

HttpResponse Docs::file(const std::string& name) {
  const std::lock_guard lock(mutex_);
  load();
  for (const auto& [known, type] : kFiles) {
    const auto found = files_.find(name);
    if (name != known || found == files_.end()) continue;
    HttpResponse response;
    response.content_type = type;
    response.headers = {{"Cache-Control", "max-age=3600"}};
    response.body = found->second;
    return response;
  }
  HttpResponse response;
  response.status = 404;
  response.body = to_json(Problem{404, "route_not_found", "there is no such file"});
  return response;
}

}  // namespace trunkline::gateway

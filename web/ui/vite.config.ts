import { defineConfig } from "vite";
import solid from "vite-plugin-solid";

// Of `npm run dev`: where a service runs.
const service = process.env["MESHWRIGHT_SERVICE"] ?? "http://127.0.0.1:8080";

// The service forbids inline scripts and styles, so nothing may be inlined.
export default defineConfig({
  plugins: [solid()],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  server: { proxy: { "/v1": service, "/openapi.json": service } },
  preview: { headers: { "content-security-policy": "default-src 'self'; img-src 'self' data: blob:" } },
});

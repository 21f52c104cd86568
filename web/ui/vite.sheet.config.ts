import { defineConfig } from "vite";
import solid from "vite-plugin-solid";

// The page of a plan that is one file: one script and one style, which `plan --html` puts into it.
export default defineConfig({
  plugins: [solid()],
  mode: "sheet",
  publicDir: false,
  build: {
    target: "es2022",
    outDir: "dist/sheet",
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
    rollupOptions: {
      input: "src/sheet.tsx",
      output: { codeSplitting: false, entryFileNames: "sheet.js", assetFileNames: "sheet[extname]" },
    },
  },
});

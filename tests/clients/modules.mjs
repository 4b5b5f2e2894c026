// Checks the output of `hedgerow snippet --for` for bundlers. One argument, JSON: {"folder":
// FOLDER}. Type-checks every .ts and .tsx file there in a strict project with the real types of
// both libraries, writes JavaScript next to it (.mjs), and loads that without a browser, as a
// server that renders pages would. Prints {"wrong": […]} in one line.
import fs from 'node:fs';
import { createRequire, register } from 'node:module';
import path from 'node:path';
import ts from 'typescript';

const { folder } = JSON.parse(process.argv[2]);
const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
// The exports of the frameworks that the files use.
const FRAMEWORKS = `
declare module 'react' { export function useEffect(effect: () => void, depends: unknown[]): void }
declare module 'next/navigation' { export function usePathname(): string | null }
declare module '#imports' {
  export function defineNuxtPlugin<T>(plugin: () => T): () => T
  export function useRouter(): { afterEach(after: (to: unknown, from: unknown) => void): () => void }
}
declare module '$app/navigation' { export function afterNavigate(after: () => void): void }
declare const router: { afterEach(after: (to: unknown, from: unknown) => void): () => void }
`;

const files = fs.readdirSync(folder).filter((name) => /\.tsx?$/.test(name)).map((name) => path.join(folder, name));
const frameworks = path.join(folder, 'frameworks.d.ts');
fs.writeFileSync(frameworks, FRAMEWORKS);
const options = {
  strict: true,
  noEmit: true,
  // The settings of Vite's templates.
  noUnusedLocals: true,
  noUnusedParameters: true,
  skipLibCheck: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
  types: [],
  paths: { '$lib/*': [`${folder}/*`], '*': [`${here}/node_modules/*`, `${here}/node_modules/*/dist/types/index.d.ts`] },
};
const program = ts.createProgram([...files, frameworks], options);
const wrong = ts.getPreEmitDiagnostics(program).map((one) => {
  const at = one.file && one.file.getLineAndCharacterOfPosition(one.start);
  const text = ts.flattenDiagnosticMessageText(one.messageText, ' ');
  return `${one.file ? path.basename(one.file.fileName) : ''}:${at ? at.line + 1 : 0}: ${text}`;
});

// The real libraries are loaded; the frameworks are empty modules.
const require = createRequire(import.meta.url);
const known = {
  '@segment/analytics-next': new URL(`file://${require.resolve('@segment/analytics-next')}`).href,
  'posthog-js': new URL(`file://${require.resolve('posthog-js')}`).href,
};
const hooks = `
const known = ${JSON.stringify(known)};
const stubs = {
  react: 'export const useEffect = () => {}',
  'next/navigation': 'export const usePathname = () => null',
  '#imports': 'export const defineNuxtPlugin = (plugin) => plugin, useRouter = () => ({})',
};
export async function resolve(name, context, next) {
  if (stubs[name]) return { url: 'data:text/javascript,' + encodeURIComponent(stubs[name]), shortCircuit: true };
  return next(known[name] ?? name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
for (const file of files) {
  const { outputText } = ts.transpileModule(fs.readFileSync(file, 'utf8'), {
    compilerOptions: { target: options.target, module: options.module },
  });
  const made = file.replace(/\.tsx?$/, '.mjs');
  fs.writeFileSync(made, outputText);
  // A plain bundle runs at once and needs a browser, and so do Nuxt's `.client` files.
  if (!/(npm|use)[^/]*$/.test(file)) await import(made).catch((error) => wrong.push(`${path.basename(file)}: ${error}`));
}
console.log(JSON.stringify({ wrong }));
process.exit(0);

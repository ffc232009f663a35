// Who is signed in in this browser, and signing in.

export const SIGNED_IN = "palate:signed-in"; // written after a sign-in in place, so that other windows look again

// {owner: id or null, name, csrf_token}: the token is that of the session, or of a visitor who may sign in.
export async function whoIsHere() {
  return ask({ method: "GET" });
}

// The same after signing in, or {error, message}.
export async function signIn(email, password) {
  const { csrf_token: token } = await whoIsHere();
  return ask({ method: "POST", body: new URLSearchParams({ email, password }) }, { "X-CSRF-Token": token });
}

async function ask(options, headers = {}) {
  const response = await fetch("/sign-in", {
    ...options,
    headers: { Accept: "application/json", ...headers },
    redirect: "error",
    signal: AbortSignal.timeout(20_000),
  });
  return response.json();
}

// The page's forms and posts use this token from here on.
export function renew(token) {
  document.querySelector('meta[name="csrf-token"]').content = token;
  for (const input of document.querySelectorAll('input[name="csrf_token"]')) input.value = token;
}

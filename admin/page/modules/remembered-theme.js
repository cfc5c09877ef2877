// Sets the remembered theme before the first paint; a module would run too late.
try {
  const theme = JSON.parse(localStorage.getItem("hivesync-analytics.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage or an unknown value: the system's theme.
}
